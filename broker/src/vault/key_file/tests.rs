use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key").join("master.key");
    (dir, path)
}

fn made() -> (tempfile::TempDir, PathBuf) {
    let (dir, path) = place();
    KeyFile::at(&path).read_or_create().unwrap();
    (dir, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn is_made_once_for_its_owner_alone() {
    let (_dir, path) = place();
    let first = KeyFile::at(&path).read_or_create().unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(fs::metadata(&path).unwrap().len(), 32);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    assert!(KeyFile::at(&path).read_or_create().unwrap() == first);
}

#[test]
fn two_first_starts_at_once_get_the_same_key() {
    let (_dir, path) = place();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| KeyFile::at(&path).read_or_create().unwrap())).collect();
        starts.into_iter().map(|start| key_id(&start.join().unwrap())).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[test]
fn keys_of_two_deployments_differ() {
    let ((_a, first), (_b, second)) = (made(), made());
    assert_ne!(key_id(&KeyFile::at(first).read().unwrap()), key_id(&KeyFile::at(second).read().unwrap()));
}

#[test]
fn refuses_a_key_others_may_use_and_says_how_to_mend_it() {
    for bits in [0o640, 0o604, 0o644, 0o620, 0o602, 0o610] {
        let (_dir, path) = made();
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        let error = KeyFile::at(&path).read_or_create().unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { mode, .. } if mode == bits), "{bits:o}");
        assert!(error.to_string().contains("chmod 600"));
    }
}

#[test]
fn refuses_a_directory_others_may_write() {
    for bits in [0o770, 0o707, 0o777] {
        let (_dir, path) = made();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(bits)).unwrap();
        let error = KeyFile::at(&path).read_or_create().unwrap_err();
        assert!(matches!(error, KeyFileError::DirectoryWritable { mode, .. } if mode == bits), "{bits:o}");
    }
}

#[test]
fn refuses_a_wrong_length() {
    for length in [0, 1, 31, 33, 44, 64] {
        let (_dir, path) = made();
        fs::write(&path, vec![5; length]).unwrap();
        let error = KeyFile::at(&path).read_or_create().unwrap_err();
        assert!(matches!(error, KeyFileError::WrongLength { length: l, .. } if l == length as u64), "{length}");
    }
}

#[test]
fn refuses_a_placeholder() {
    let (_dir, path) = made();
    for byte in [0, 0xff, b'x'] {
        fs::write(&path, [byte; 32]).unwrap();
        assert!(matches!(KeyFile::at(&path).read_or_create(), Err(KeyFileError::NotRandom { .. })));
    }
}

#[test]
fn refuses_a_link_even_to_a_good_key() {
    let (dir, path) = made();
    let link = dir.path().join("link.key");
    symlink(&path, &link).unwrap();
    assert!(matches!(KeyFile::at(&link).read_or_create(), Err(KeyFileError::NotAFile { .. })));
}

#[test]
fn refuses_a_link_to_nothing_without_making_what_it_names() {
    let (dir, path) = place();
    let link = dir.path().join("link.key");
    symlink(&path, &link).unwrap();
    assert!(matches!(KeyFile::at(&link).read_or_create(), Err(KeyFileError::NotAFile { .. })));
    assert!(!path.exists());
}

#[test]
fn refuses_a_directory_or_device_in_its_place() {
    let (dir, _path) = place();
    assert!(matches!(KeyFile::at(dir.path()).read_or_create(), Err(KeyFileError::NotAFile { .. })));
    assert!(matches!(KeyFile::at("/dev/zero").read_or_create(), Err(KeyFileError::NotAFile { .. })));
}

#[test]
fn refuses_another_owner() {
    // The file belongs to us whoever runs this; only root can give one away.
    let (_dir, path) = made();
    match std::os::unix::fs::chown(&path, Some(effective_uid() + 1), None) {
        Ok(()) => {
            let error = KeyFile::at(&path).read_or_create().unwrap_err();
            assert!(matches!(error, KeyFileError::WrongOwner { owner, uid, .. } if owner == uid + 1));
        }
        // Without that right: a file of root's does as well.
        Err(_) => {
            assert!(matches!(KeyFile::at("/etc/hostname").read(), Err(KeyFileError::WrongOwner { owner: 0, .. })))
        }
    }
}

#[test]
fn refuses_a_key_beside_the_data_it_seals() {
    let (dir, _path) = place();
    let data = dir.path().join("data");
    for inside in ["data/master.key", "data/keys/master.key", "other/../data/master.key", "./data/./k"] {
        let error = KeyFile::at(dir.path().join(inside)).outside(&data).read_or_create().unwrap_err();
        assert!(matches!(error, KeyFileError::InDataDirectory { .. }), "{inside}: {error}");
    }
    assert!(!data.exists(), "nothing was made");
    KeyFile::at(dir.path().join("database/master.key")).outside(&data).read_or_create().unwrap();
}

#[test]
fn refuses_a_key_that_a_linked_directory_puts_beside_the_data() {
    let (dir, _path) = place();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    symlink(&data, dir.path().join("elsewhere")).unwrap();
    let file = KeyFile::at(dir.path().join("elsewhere/master.key")).outside(&data);
    assert!(matches!(file.read_or_create(), Err(KeyFileError::InDataDirectory { .. })));
}

#[test]
fn a_missing_key_is_not_replaced_when_it_must_be_there() {
    let (_dir, path) = place();
    assert!(matches!(KeyFile::at(&path).read(), Err(KeyFileError::Missing { .. })));
    assert!(!path.exists());
}

#[test]
fn i9_the_key_is_in_no_error() {
    let (_dir, path) = made();
    let key = fs::read(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    let error = KeyFile::at(&path).read_or_create().unwrap_err();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!format!("{error} {error:?}").contains(&hex));
    assert!(!format!("{error:?}").contains(&format!("{key:?}")));
}
