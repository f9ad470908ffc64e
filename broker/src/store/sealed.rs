//! Every column that holds sealed fields: what a re-wrap must reach. A test fails if the schema has another one.

use super::Sealed;
use crate::model::{Generation, GrantKey};

/// How many bytes at the beginning of a sealed field say how it was sealed. They are compared here, not understood.
pub(super) const HEADER: usize = 20;

/// One sealed field of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedField {
    /// Where.
    pub column: SealedColumn,
    /// Id of the record; for a secret `<group>:<key>`.
    pub record: String,
    /// What is there.
    pub sealed: Sealed,
}

/// One field that is to be sealed otherwise, if it is still what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// As it was read.
    pub old: SealedField,
    /// What takes its place.
    pub new: Sealed,
}

/// A grant of which nothing is sealed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shredded {
    /// Its id.
    pub id: String,
    /// What it was for.
    pub key: GrantKey,
    /// The generation that was destroyed.
    pub generation: Generation,
    /// How many fields of it were.
    pub fields: u64,
}

/// A master key that was ever used for what is stored here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMasterKey {
    /// What the vault names it by.
    pub id: String,
    /// Data keys it may have wrapped: never fewer than it has.
    pub wraps: u64,
}

/// The statements about one column, in what SQLite and Postgres have in common.
pub(super) struct Statements {
    /// The first header after `$1`.
    pub(super) next_header: &'static str,
    /// How many fields begin with `$1`.
    pub(super) count: &'static str,
    /// At most `$3` fields that begin with `$1`, of records after `$2`, in order of record.
    pub(super) page: &'static str,
    /// `$4` in the place of `$3`, of record `$2`, which begins with `$1`.
    pub(super) swap: &'static str,
}

macro_rules! columns {
    ($($(#[$about:meta])* $name:ident: $table:literal, $record:literal, $column:literal;)*) => {
        /// A column that holds sealed fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum SealedColumn {
            $($(#[$about])* $name,)*
        }

        impl SealedColumn {
            /// Every one there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its table.
            pub fn table(self) -> &'static str {
                match self {
                    $(Self::$name => $table,)*
                }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $column,)*
                }
            }

            // Each begins with what its index has: the header, and then the record.
            pub(super) fn statements(self) -> Statements {
                match self {
                    $(Self::$name => Statements {
                        next_header: concat!(
                            "SELECT substr(", $column, ", 1, 20) FROM ", $table, " WHERE substr(", $column, ", 1, 20) > $1
                             ORDER BY substr(", $column, ", 1, 20) LIMIT 1"
                        ),
                        count: concat!("SELECT count(*) FROM ", $table, " WHERE substr(", $column, ", 1, 20) = $1"),
                        page: concat!(
                            "SELECT ", $record, " AS record, ", $column, " AS sealed FROM ", $table, "
                             WHERE substr(", $column, ", 1, 20) = $1 AND ", $record, " > $2 ORDER BY ", $record, " LIMIT $3"
                        ),
                        swap: concat!(
                            "UPDATE ", $table, " SET ", $column, " = $4
                             WHERE substr(", $column, ", 1, 20) = $1 AND ", $record, " = $2 AND ", $column, " = $3"
                        ),
                    },)*
                }
            }
        }
    };
}

columns! {
    /// The access token of a grant.
    AccessToken: "grants", "id", "access_token";
    /// The refresh token of a grant.
    RefreshToken: "grants", "id", "refresh_token";
    /// The refresh token of a commit that lost.
    Spare: "grants", "id", "spare";
    /// `state` of an attempt at a consent.
    ConsentState: "consents", "id", "state";
    /// PKCE verifier of an attempt at a consent.
    ConsentVerifier: "consents", "id", "verifier";
    /// Tokens that wait for the person's decision.
    ConsentHeld: "consents", "id", "held";
    /// State, nonce and verifier of a sign-in.
    SignInSecrets: "sign_ins", "id", "secrets";
    /// A secret of the broker's own.
    Secret: "secrets", "(secret_group || ':' || key)", "value";
    /// A private key of the broker's own.
    Key: "keys", "id", "value";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault;

    #[test]
    fn what_is_compared_is_the_whole_of_what_names_the_master_key() {
        assert_eq!(HEADER, vault::HEADER);
        for column in SealedColumn::ALL {
            let cut = format!("substr({}, 1, {HEADER})", column.name());
            let statements = column.statements();
            for sql in [statements.next_header, statements.count, statements.page, statements.swap] {
                assert!(sql.contains(&cut), "{sql}");
            }
        }
    }
}
