//! Work on many files at once, heard of in their order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// Threads for each core: files are waited for, too.
const THREADS_A_CORE: usize = 4;

/// Runs `work` on all items, several at once, and hands the results to `each` in the order of the
/// items, as soon as that can be. When `each` fails, no more items are begun.
pub(crate) fn for_each<T: Sync, R: Send, E>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut each: impl FnMut(&T, R) -> Result<(), E>,
) -> Result<(), E> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores * THREADS_A_CORE).min(items.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    if sender.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        let mut result = Ok(());
        for (index, done) in receiver {
            waiting.insert(index, done);
            while let Some(done) = waiting.remove(&due) {
                if result.is_ok() {
                    result = each(&items[due], done);
                }
                due += 1;
            }
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
        }
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_an_error_ends_the_work() {
        let items: Vec<u64> = (0..200).collect();
        let work = |item: &u64| {
            std::thread::sleep(std::time::Duration::from_micros((200 - item) * 5));
            item * 2
        };
        let mut seen = Vec::new();
        for_each(&items, work, |item, done| {
            assert_eq!(done, item * 2);
            seen.push(*item);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert_eq!(seen, items);
        let begun = AtomicUsize::new(0);
        let work = |_: &u64| begun.fetch_add(1, Ordering::Relaxed);
        assert_eq!(for_each(&items, work, |_, _| Err("stop")), Err("stop"));
        assert!(begun.into_inner() <= items.len());
        assert_eq!(for_each(&[0u64; 0], |_| 1, |_, _| Err("none")), Ok(()));
    }
}
