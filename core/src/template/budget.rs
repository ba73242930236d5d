//! What the functions of one render may still read and write. Template functions are bare `fn`
//! pointers, so they share state through the thread.

use std::cell::Cell;
use std::time::{Duration, Instant};

use gtmpl_ng::{FuncError, Value};

use super::limits;

thread_local! {
    static WORK: Cell<usize> = const { Cell::new(0) };
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Begins a new render on this thread, with this much time left.
pub(super) fn refill(time: Duration) {
    WORK.set(limits::WORK);
    DEADLINE.set(Instant::now().checked_add(time));
}

/// Counts one step of a loop inside a function, which reads or writes this much: the engine checks
/// the time only between functions.
pub(super) fn step(amount: usize) -> Result<(), FuncError> {
    if DEADLINE.get().is_some_and(|end| Instant::now() >= end) {
        return refuse("out of time");
    }
    spend(amount)
}

/// Runs a function within its bounds: the sizes of all arguments together, the members of its
/// result, and the remaining work. (The engine itself bounds the bytes of a result.)
pub(super) fn call(
    function: fn(&[Value]) -> Result<Value, FuncError>,
    args: &[Value],
) -> Result<Value, FuncError> {
    let mut size = Size::default();
    for arg in args {
        size.add(arg);
    }
    let read = size.bytes + size.members;
    if read > limits::ARGUMENTS {
        return refuse("arguments too large");
    }
    spend(read)?;
    let result = function(args)?;
    let mut size = Size::default();
    size.add(&result);
    if size.members > limits::RESULT_MEMBERS {
        return refuse("too many members");
    }
    spend(size.bytes + size.members)?;
    Ok(result)
}

/// Refuses a result of this many bytes before it is built.
pub(super) fn check_result(bytes: usize) -> Result<(), FuncError> {
    if bytes > limits::RESULT_BYTES {
        refuse("result too large")
    } else {
        Ok(())
    }
}

fn spend(amount: usize) -> Result<(), FuncError> {
    let left = WORK.get().checked_sub(amount + 16);
    WORK.set(left.unwrap_or_default());
    match left {
        Some(_) => Ok(()),
        None => refuse("too much work"),
    }
}

fn refuse<T>(what: &str) -> Result<T, FuncError> {
    Err(FuncError::Generic(what.to_owned()))
}

#[derive(Default)]
struct Size {
    bytes: usize,
    members: usize,
}

impl Size {
    /// Counts without recursion, although the engine keeps values at most 128 deep.
    fn add(&mut self, value: &Value) {
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            match value {
                Value::String(text) => self.bytes += text.len(),
                Value::Array(items) => {
                    self.members += items.len();
                    stack.extend(items);
                }
                Value::Map(entries) | Value::Object(entries) => {
                    self.members += entries.len();
                    self.bytes += entries.keys().map(String::len).sum::<usize>();
                    stack.extend(entries.values());
                }
                _ => self.bytes += 8,
            }
        }
    }
}
