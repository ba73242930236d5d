//! What the controller works on, written to a small file, so that the next process knows what the
//! last one worked on when it died. Such an object is not opened first again: it waits, longer each
//! time, while all others are served.
//!
//! The file is for a process that dies by itself, not for a machine that does: nothing is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;
use crate::object::Key;

const FILE: &str = "in-hand";
/// Follows the last entry: whatever the file has behind it is of an older writing.
const END: &str = "end\n";
/// Deaths that are remembered, of the objects with the most: a name has at most 253 bytes.
const REMEMBERED: usize = 256;
/// How long an object waits that was in hand once when a process died: until all others were
/// served, in a cluster of usual size.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// So that the next death has one suspect.
const APART: Duration = Duration::from_secs(2);

/// Kind, namespace and name.
type Entry = (String, Key);

/// See the module's documentation.
#[derive(Default)]
pub struct InHand {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    /// Deaths of processes that had it in hand, by object; none of an object in hand for the first
    /// time.
    deaths: BTreeMap<Entry, u32>,
    /// What this process works on.
    now: BTreeSet<Entry>,
    /// Until when objects wait.
    waits: BTreeMap<Entry, Instant>,
}

impl InHand {
    /// Reads what the last process left in this folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let deaths = read(&std::fs::read_to_string(&path).unwrap_or_default());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        let start = Instant::now();
        let mut waits = BTreeMap::new();
        // The fewest deaths first.
        let mut suspects: Vec<_> = deaths.iter().collect();
        suspects.sort_by_key(|(_, deaths)| **deaths);
        for ((entry, deaths), apart) in suspects.into_iter().zip(0..) {
            let wait = FIRST_WAIT * 4_u32.saturating_pow(deaths.saturating_sub(1).min(8));
            let wait = wait.min(LONGEST_WAIT) + APART * apart;
            let (kind, Key { namespace, name }) = entry;
            let seconds = wait.as_secs();
            tracing::warn!(
                kind,
                namespace,
                name,
                deaths,
                seconds,
                "in hand when a process died: it waits"
            );
            waits.insert(entry.clone(), start + wait);
        }
        let state = State {
            file: Some(file),
            deaths,
            waits,
            ..State::default()
        };
        state.write();
        Ok(Self {
            state: Mutex::new(state),
        })
    }

    /// Until when this object has to wait, if it has to.
    pub fn waits(&self, kind: &str, key: &Key) -> Option<Instant> {
        let state = self.lock();
        if state.waits.is_empty() {
            return None;
        }
        let until = state.waits.get(&(kind.to_owned(), key.clone()))?;
        (*until > Instant::now()).then_some(*until)
    }

    /// Takes an object in hand, until the result is dropped.
    pub fn take(self: &Arc<Self>, kind: &str, key: &Key) -> Held {
        let entry = (kind.to_owned(), key.clone());
        let mut state = self.lock();
        if state.file.is_some() {
            state.now.insert(entry.clone());
            state.write();
        }
        Held {
            in_hand: self.clone(),
            entry,
        }
    }

    /// Forgets what is in hand: the process ends of its own will.
    pub fn put_down(&self) {
        let mut state = self.lock();
        state.now.clear();
        state.write();
        state.file = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// An object in hand.
pub struct Held {
    in_hand: Arc<InHand>,
    entry: Entry,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.in_hand.lock();
        if state.file.is_none() {
            return;
        }
        state.now.remove(&self.entry);
        // This process survived it.
        state.deaths.remove(&self.entry);
        state.waits.remove(&self.entry);
        state.write();
    }
}

impl State {
    /// Writes all of it. The next process counts a death for what is in hand.
    fn write(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let mut text = String::new();
        let mut push = |mark: &str, (kind, key): &Entry, deaths: u32| {
            text += &format!("{mark} {deaths} {kind} {key}\n");
        };
        for entry in &self.now {
            push(
                "now",
                entry,
                self.deaths.get(entry).copied().unwrap_or_default(),
            );
        }
        let waiting = self
            .deaths
            .iter()
            .filter(|(entry, _)| !self.now.contains(entry));
        waiting.for_each(|(entry, deaths)| push("waits", entry, *deaths));
        text += END;
        // One call, which a death does not cut. A full disk costs the memory of one death.
        let _ = file.write_all_at(text.as_bytes(), 0);
    }
}

/// The deaths by object, as the next process counts them.
fn read(text: &str) -> BTreeMap<Entry, u32> {
    let Some((entries, _)) = text.split_once(END) else {
        return BTreeMap::new();
    };
    let entry = |line: &str| {
        let mut words = line.split(' ');
        let died = match words.next()? {
            "now" => 1,
            "waits" => 0,
            _ => return None,
        };
        let deaths = words.next()?.parse::<u32>().ok()?.saturating_add(died);
        let kind = words.next()?.to_owned();
        let (namespace, name) = words.next()?.split_once('/')?;
        let key = Key {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Some(((kind, key), deaths))
    };
    let mut deaths: Vec<_> = entries.lines().filter_map(entry).collect();
    deaths.sort_by_key(|(_, deaths)| std::cmp::Reverse(*deaths));
    deaths.truncate(REMEMBERED);
    deaths.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    /// What the next process makes of the folder: seconds that objects wait.
    fn next(folder: &Path, names: [&str; 3]) -> [Option<u64>; 3] {
        let in_hand = InHand::open(folder).unwrap();
        names.map(|name| {
            let until = in_hand.waits("SealedSecret", &key(name))?;
            Some((until - Instant::now()).as_secs())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_in_hand_waits_longer_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let names = ["bad", "good", "done"];
        for waits in [10, 40, 160] {
            let in_hand = Arc::new(InHand::open(folder).unwrap());
            let bad = in_hand.take("SealedSecret", &key("bad"));
            drop(in_hand.take("SealedSecret", &key("done")));
            // Died.
            std::mem::forget(bad);
            assert_eq!(next(folder, names), [Some(waits), None, None]);
            // Reading counts nothing.
            assert_eq!(next(folder, names), [Some(waits), None, None]);
        }
        let in_hand = Arc::new(InHand::open(folder).unwrap());
        assert!(in_hand.waits("RewrapRequest", &key("bad")).is_none());
        drop(in_hand.take("SealedSecret", &key("bad")));
        assert_eq!(next(folder, names), [None; 3], "it was survived");
    }

    #[tokio::test(start_paused = true)]
    async fn suspects_are_taken_one_by_one_and_the_innocent_first() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let names = ["bad", "good", "done"];
        let in_hand = Arc::new(InHand::open(folder).unwrap());
        std::mem::forget(in_hand.take("SealedSecret", &key("bad")));
        let in_hand = Arc::new(InHand::open(folder).unwrap());
        for name in ["bad", "good"] {
            std::mem::forget(in_hand.take("SealedSecret", &key(name)));
        }
        assert_eq!(next(folder, names), [Some(42), Some(10), None]);
    }

    #[tokio::test]
    async fn who_ends_of_its_own_will_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let in_hand = Arc::new(InHand::open(folder.path()).unwrap());
        let held = in_hand.take("SealedSecret", &key("a"));
        in_hand.put_down();
        drop(held);
        assert_eq!(next(folder.path(), ["a", "b", "c"]), [None; 3]);
        // What nobody wrote is nothing.
        std::fs::write(folder.path().join(FILE), "now 1 SealedSecret shop/a").unwrap();
        assert_eq!(next(folder.path(), ["a", "b", "c"]), [None; 3]);
    }
}
