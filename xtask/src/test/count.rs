//! What test programs say at their end, added up.

use std::ops::AddAssign;

/// What test programs say at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    /// Those whose names were not asked for.
    pub(super) skipped: u64,
    /// Of those that passed on the fleet, how many bring a key file and say so in their name.
    pub(super) with_key_file: u64,
}

impl Count {
    /// From `test result: ok. 3 passed; 0 failed; 1 ignored; …`, with or without colours.
    pub(super) fn of_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        let number = |label: &str| {
            counts
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(label)?.trim().rsplit(' ').next()?.parse().ok())
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            ignored: number("ignored")?,
            skipped: number("filtered out")?,
            with_key_file: 0,
        })
    }

    /// Whether this is the line of a test that has passed and brings a key file: `test rolling::… … ok`.
    pub(super) fn is_with_key_file(line: &str) -> bool {
        let test = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        test.is_some_and(|(name, outcome)| name.contains("key_file") && outcome.contains("ok"))
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skipped += other.skipped;
        self.with_key_file += other.with_key_file;
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn reads_the_closing_line_of_a_test_program() {
        for (line, [passed, failed, ignored, skipped]) in [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                [12, 0, 3, 0],
            ),
            (
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s",
                [1, 2, 0, 7],
            ),
            (
                "test result: \u{1b}[31mFAILED\u{1b}(B\u{1b}[m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                [1, 2, 0, 0],
            ),
        ] {
            assert_eq!(
                Count::of_line(line),
                Some(Count { passed, failed, ignored, skipped, with_key_file: 0 }),
                "{line}"
            );
        }
    }

    #[test]
    fn tells_who_brings_a_key_file_by_the_name() {
        for (line, is) in [
            ("test rolling::a_restart_with_a_key_file_fails_no_call ... ok", true),
            ("test a_key_file_stops_serve ... \u{1b}[32mok\u{1b}(B\u{1b}[m", true),
            ("test a_key_file_stops_serve ... FAILED", false),
            ("test a_restart_fails_no_call ... ok", false),
            ("it has a key_file ... ok", false),
        ] {
            assert_eq!(Count::is_with_key_file(line), is, "{line}");
        }
    }

    #[test]
    fn takes_nothing_else_for_a_closing_line() {
        for line in [
            "",
            "running 3 tests",
            "test result: ok.",
            "test says: test result: ok. 1 passed; 0 failed; 0 ignored",
            "3 passed; 0 failed",
        ] {
            assert_eq!(Count::of_line(line), None, "{line}");
        }
    }
}
