//! The vault: envelope encryption of one field of one record at a time (I4). It knows no SQL.
