//! `Server-Timing` (W3C): which part of a request took how long.
//!
//! Written by hand, as every response has it: formatting machinery costs more than all the digits.

/// Durations and moments, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Timing {
    /// Took the outer door. Nothing for a caller who was verified before: knowing somebody takes less than the clock.
    pub(super) auth_ns: u64,
    /// Took reading the body and policy.
    pub(super) policy_ns: u64,
    /// When the credential was asked for, since 1970.
    pub(super) asked_at_ns: u64,
    /// When the request left, since 1970.
    pub(super) released_at_ns: u64,
    pub(super) source: Source,
}

/// Where a credential came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Source {
    #[default]
    Hit,
    Broker,
    Refresh,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Broker => "broker",
            Self::Refresh => "refresh",
        }
    }
}

impl Timing {
    /// Of a response whose headers came at `now_ns`.
    pub(super) fn header(&self, now_ns: u64) -> String {
        let mut text = String::with_capacity(112);
        text.push_str("auth;dur=");
        push_milliseconds(&mut text, self.auth_ns);
        text.push_str(", policy;dur=");
        push_milliseconds(&mut text, self.policy_ns);
        text.push_str(", credential;desc=");
        text.push_str(self.source.name());
        text.push_str(";dur=");
        push_milliseconds(&mut text, self.released_at_ns.saturating_sub(self.asked_at_ns));
        text.push_str(", upstream;dur=");
        push_milliseconds(&mut text, now_ns.saturating_sub(self.released_at_ns));
        text
    }
}

/// Of a request that was refused after `took_ns`.
pub(super) fn outer(took_ns: u64) -> String {
    let mut text = String::from("auth;dur=");
    push_milliseconds(&mut text, took_ns);
    text
}

/// To the microsecond.
fn push_milliseconds(text: &mut String, ns: u64) {
    let mut us = ns / 1_000;
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    // At least the three behind the point and one before it.
    while us > 0 || from > digits.len().saturating_sub(4) {
        from = from.saturating_sub(1);
        if let Some(digit) = digits.get_mut(from) {
            *digit |= (us % 10) as u8;
        }
        us /= 10;
    }
    let (whole, behind) = digits.split_at(digits.len().saturating_sub(3));
    text.extend(whole.iter().skip(from).copied().map(char::from));
    text.push('.');
    text.extend(behind.iter().copied().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_milliseconds_to_the_microsecond() {
        for (ns, text) in [
            (0, "0.000"),
            (999, "0.000"),
            (1_000, "0.001"),
            (12_345, "0.012"),
            (1_000_000, "1.000"),
            (10_020_030_000, "10020.030"),
            (u64::MAX, "18446744073709.551"),
        ] {
            assert_eq!(outer(ns), format!("auth;dur={text}"));
        }
    }
}
