//! Directories that are gone when the test binary is, even those of a shared world.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, Once},
};

static ALIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static AT_EXIT: Once = Once::new();

/// A directory of its own under the system's temporary one, removed on drop or at exit.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        AT_EXIT.call_once(|| {
            #[expect(unsafe_code, reason = "statics are not dropped, and a shared world is one")]
            // SAFETY: the function neither unwinds nor uses anything that exit destroys.
            unsafe {
                libc::atexit(remove_all);
            }
        });
        let path = std::env::temp_dir().join(crate::unique("sallyport-e2e"));
        std::fs::create_dir(&path).expect("the temporary directory is writable");
        ALIVE.lock().expect("no holder panics").push(path.clone());
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Best effort: what is left over is in the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
        if let Ok(mut alive) = ALIVE.lock() {
            alive.retain(|path| *path != self.0);
        }
    }
}

extern "C" fn remove_all() {
    if std::env::var_os("SALLYPORT_E2E_KEEP").is_some() {
        return;
    }
    if let Ok(alive) = ALIVE.lock() {
        for path in alive.iter() {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
