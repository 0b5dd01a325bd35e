//! Waiting for something to become true, with an end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How often a condition is looked at again. Short, since a test's time is mostly waiting.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until the answer is `Ok(Some)`, at most for `limit`.
///
/// # Errors
/// When the time is up (`what` says what was awaited, with the last error as its cause).
pub fn until<T>(
    limit: Duration,
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        let answer = ask();
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() >= end {
            let late = format!("{what}: not within {limit:?}");
            return match answer {
                Err(error) => Err(error).context(late),
                Ok(_) => bail!(late),
            };
        }
        std::thread::sleep(PAUSE);
    }
}
