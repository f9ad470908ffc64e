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
    KeyFile::at(&path).create_if_missing().unwrap();
    (dir, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn is_made_once_for_its_owner_alone() {
    let (_dir, path) = place();
    KeyFile::at(&path).create_if_missing().unwrap();
    let first = KeyFile::at(&path).read().unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(fs::metadata(&path).unwrap().len(), 32);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    KeyFile::at(&path).create_if_missing().unwrap();
    assert!(KeyFile::at(&path).read().unwrap() == first);
}

#[test]
fn two_first_starts_at_once_get_the_same_key() {
    let (_dir, path) = place();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            KeyFile::at(&path).create_if_missing().unwrap();
            KeyFile::at(&path).read().unwrap()
        };
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
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
        let error = KeyFile::at(&path).create_if_missing().unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { mode, .. } if mode == bits), "{bits:o}");
        assert!(error.to_string().contains("chmod 600"));
    }
}

#[test]
fn refuses_a_directory_others_may_write() {
    for bits in [0o770, 0o707, 0o777] {
        let (_dir, path) = made();
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(bits)).unwrap();
        let error = KeyFile::at(&path).create_if_missing().unwrap_err();
        assert!(matches!(error, KeyFileError::DirectoryWritable { mode, .. } if mode == bits), "{bits:o}");
    }
}

#[test]
fn refuses_a_wrong_length() {
    for length in [0, 1, 31, 33, 44, 64] {
        let (_dir, path) = made();
        fs::write(&path, vec![5; length]).unwrap();
        let error = KeyFile::at(&path).create_if_missing().unwrap_err();
        assert!(matches!(error, KeyFileError::WrongLength { length: l, .. } if l == length as u64), "{length}");
    }
}

#[test]
fn refuses_a_placeholder() {
    let (_dir, path) = made();
    for byte in [0, 0xff, b'x'] {
        fs::write(&path, [byte; 32]).unwrap();
        assert!(matches!(KeyFile::at(&path).create_if_missing(), Err(KeyFileError::NotRandom { .. })));
    }
}

#[test]
fn refuses_a_link_even_to_a_good_key() {
    let (dir, path) = made();
    let link = dir.path().join("link.key");
    symlink(&path, &link).unwrap();
    assert!(matches!(KeyFile::at(&link).create_if_missing(), Err(KeyFileError::NotAFile { .. })));
}

#[test]
fn refuses_a_link_to_nothing_without_making_what_it_names() {
    let (dir, path) = place();
    let link = dir.path().join("link.key");
    symlink(&path, &link).unwrap();
    assert!(matches!(KeyFile::at(&link).create_if_missing(), Err(KeyFileError::NotAFile { .. })));
    assert!(!path.exists());
}

#[test]
fn refuses_a_directory_or_device_in_its_place() {
    let (dir, _path) = place();
    assert!(matches!(KeyFile::at(dir.path()).create_if_missing(), Err(KeyFileError::NotAFile { .. })));
    assert!(matches!(KeyFile::at("/dev/zero").create_if_missing(), Err(KeyFileError::NotAFile { .. })));
}

#[test]
fn refuses_another_owner() {
    // The file belongs to us whoever runs this; only root can give one away.
    let (_dir, path) = made();
    match std::os::unix::fs::chown(&path, Some(effective_uid() + 1), None) {
        Ok(()) => {
            let error = KeyFile::at(&path).create_if_missing().unwrap_err();
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
        let error = KeyFile::at(dir.path().join(inside)).outside(&data).create_if_missing().unwrap_err();
        assert!(matches!(error, KeyFileError::InDataDirectory { .. }), "{inside}: {error}");
    }
    assert!(!data.exists(), "nothing was made");
    KeyFile::at(dir.path().join("database/master.key")).outside(&data).create_if_missing().unwrap();
}

#[test]
fn refuses_a_key_that_a_linked_directory_puts_beside_the_data() {
    let (dir, _path) = place();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    symlink(&data, dir.path().join("elsewhere")).unwrap();
    let file = KeyFile::at(dir.path().join("elsewhere/master.key")).outside(&data);
    assert!(matches!(file.create_if_missing(), Err(KeyFileError::InDataDirectory { .. })));
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
    let error = KeyFile::at(&path).create_if_missing().unwrap_err();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(!format!("{error} {error:?}").contains(&hex));
    assert!(!format!("{error:?}").contains(&format!("{key:?}")));
}

fn retired(path: &Path, id: KeyId) -> PathBuf {
    PathBuf::from(format!("{}.retired-{id}", path.display()))
}

#[test]
fn v6_a_replaced_key_stays_beside_its_successor_and_both_are_read() {
    let (_dir, path) = made();
    let file = KeyFile::at(&path);
    let mut ids = vec![key_id(&file.read().unwrap())];
    for _ in 0..2 {
        let replaced = file.replace(ids[0]).unwrap();
        assert_eq!(replaced.retired, retired(&path, ids[0]));
        assert_eq!(mode(&path), 0o600);
        ids.insert(0, key_id(&replaced.new));
    }
    let read = file.read_all().unwrap();
    assert_eq!(key_id(&read[0].1), ids[0], "the newest is the current one");
    let mut found: Vec<_> = read.iter().map(|(_, key)| key_id(key)).collect();
    found.sort();
    ids.sort();
    assert_eq!(found, ids);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3, "nothing else is left there");
}

#[test]
fn v6_a_rotation_that_was_cut_off_can_be_read_and_done_again() {
    let (_dir, path) = made();
    let file = KeyFile::at(&path);
    let old = key_id(&file.read().unwrap());
    // As far as it comes before the new key takes its place: the old one has two names, the new one is unused.
    fs::hard_link(&path, retired(&path, old)).unwrap();
    file.write_new().unwrap();
    assert!(file.read_all().unwrap().iter().all(|(_, key)| key_id(key) == old));
    let new = key_id(&file.replace(old).unwrap().new);
    let ids: Vec<_> = file.read_all().unwrap().iter().map(|(_, key)| key_id(key)).collect();
    assert_eq!(ids, [new, old]);
}

#[test]
fn refuses_to_replace_a_key_that_is_not_the_one_it_began_with() {
    let ((_dir, path), (_other_dir, other)) = (made(), made());
    let began_with = key_id(&KeyFile::at(&other).read().unwrap());
    let before = fs::read(&path).unwrap();
    assert!(
        matches!(KeyFile::at(&path).replace(began_with), Err(KeyFileError::Changed { expected, .. }) if expected == began_with)
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn refuses_a_retired_key_that_others_may_read() {
    let (_dir, path) = made();
    let file = KeyFile::at(&path);
    let old = key_id(&file.read().unwrap());
    let kept = file.replace(old).unwrap().retired;
    fs::set_permissions(&kept, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(file.read_all(), Err(KeyFileError::Exposed { path, .. }) if path == kept));
}
