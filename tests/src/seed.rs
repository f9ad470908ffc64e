//! Stores filled quickly: what would take thousands of commands and consents.

use std::{fs, ops::Range, os::unix::fs::PermissionsExt as _, time::Duration};

use crate::{Broker, Output, Provider, kms};

impl Broker {
    /// Sets many secrets, while it does not run: `<group>:k<n>` with the five digits of `n` as the value.
    pub async fn seed_secrets(&self, group: &str, numbers: Range<usize>) {
        let [first, count] = [numbers.start, numbers.len()].map(|number| number.to_string());
        self.seed("seed-secrets", &[group, &first, &count]).await;
    }

    /// Makes people `person-<n>` with a grant each, like the first that there is, while it does not run. Their access tokens live
    /// so long, and up to three quarters of that are over; all of it, if that is nothing. [`Provider::adopt`] makes their
    /// refresh tokens good.
    pub async fn seed_grants(&self, people: Range<usize>, life: Duration) {
        let arguments = [people.start, people.len()].map(|number| number.to_string());
        self.seed("seed-grants", &[&arguments[0], &arguments[1], &life.as_secs().to_string()]).await;
    }

    /// Takes over everything that is in another's SQLite, while neither runs.
    ///
    /// # Panics
    /// When a file cannot be copied.
    pub fn take_over(&self, other: &Self) {
        fs::create_dir(&self.data).expect("it never ran");
        fs::set_permissions(&self.data, fs::Permissions::from_mode(0o700)).expect("it is there");
        for entry in fs::read_dir(&other.data).expect("a directory").flatten() {
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("sallyport.db") {
                fs::copy(entry.path(), self.data.join(name)).expect("the disk has room");
            }
        }
    }

    async fn seed(&self, what: &str, arguments: &[&str]) {
        let mut command = tokio::process::Command::new(self.program().seeder());
        command.arg(what).arg(&self.config).args(arguments).kill_on_drop(true);
        command.envs(kms::CREDENTIALS);
        let directory = self.config.parent().expect("it is in a directory");
        let seeded = command.current_dir(directory).output().await;
        Output::from(seeded.expect("the binary is there")).ok();
    }
}

impl Provider {
    /// Knows these people of [`Broker::seed_grants`]: as if each had approved of the gate.
    pub fn adopt(&self, people: Range<usize>) {
        for person in people.map(|number| format!("person-{number}")) {
            self.knows(&person, &format!("seeded-refresh-token-of-{person}"));
        }
    }
}
