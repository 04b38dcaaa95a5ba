//! Long texts between a client and the server: the time limit is for each part, so that a client
//! that makes progress may send and read megabytes, and one that stops is closed soon.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink};
use tokio::time::timeout;

/// The time limit starts again after this many bytes.
const PART: usize = 1 << 20;

/// Reads a text of `len` bytes. Memory grows with what has arrived, whatever length was claimed.
///
/// # Errors
/// The client closed early, or sent no further part within `limit`.
pub(super) async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    len: usize,
    limit: Duration,
) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < len {
        let part = PART.min(len - text.len());
        let mut rest = (&mut *reader).take(part as u64);
        if timeout(limit, rest.read_to_end(&mut text)).await?? < part {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(text)
}

/// Reads and discards up to `most` bytes, until the client closes.
///
/// # Errors
/// The client sent no further part within `limit`.
pub(super) async fn discard(
    reader: &mut (impl AsyncRead + Unpin),
    most: usize,
    limit: Duration,
) -> anyhow::Result<()> {
    let mut left = most;
    while left > 0 {
        let part = PART.min(left);
        let mut rest = (&mut *reader).take(part as u64);
        if timeout(limit, copy(&mut rest, &mut sink())).await?? < part as u64 {
            break;
        }
        left -= part;
    }
    Ok(())
}

/// Writes a text.
///
/// # Errors
/// The client closed, or did not read a further part within `limit`.
pub(super) async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    text: &str,
    limit: Duration,
) -> anyhow::Result<()> {
    for part in text.as_bytes().chunks(PART) {
        timeout(limit, writer.write_all(part)).await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::duplex;
    use tokio::time::{error::Elapsed, sleep};

    use super::*;

    /// For a client that stops.
    const SOON: Duration = Duration::from_millis(20);

    /// For a client that goes on: longer than a part takes, less than all take.
    const LIMIT: Duration = Duration::from_secs(1);
    const PAUSE: Duration = Duration::from_millis(350);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn a_slow_client_that_goes_on_is_waited_for() {
        run(async {
            let (mut client, mut server) = duplex(PART);
            let sending = async {
                for _ in 0..3 {
                    sleep(PAUSE).await;
                    client.write_all(&vec![b'x'; PART]).await.unwrap();
                }
            };
            // In this order: after a pause of the machine both times may be over at once.
            let ((), text) = tokio::join!(biased; sending, read(&mut server, 3 * PART, LIMIT));
            assert_eq!(text.unwrap().len(), 3 * PART);
            let (mut client, mut server) = duplex(PART);
            let text = "x".repeat(3 * PART);
            let reading = async {
                let mut room = vec![0; PART];
                for _ in 0..3 {
                    sleep(PAUSE).await;
                    client.read_exact(&mut room).await.unwrap();
                }
            };
            let ((), written) = tokio::join!(biased; reading, write(&mut server, &text, LIMIT));
            written.unwrap();
        });
    }

    #[test]
    fn a_client_that_stops_is_given_up() {
        run(async {
            let (mut client, mut server) = duplex(PART);
            client.write_all(b"some").await.unwrap();
            assert!(read(&mut server, 16 << 20, SOON).await.unwrap_err().is::<Elapsed>());
            assert!(discard(&mut server, 16 << 20, SOON).await.unwrap_err().is::<Elapsed>());
            let text = "x".repeat(3 * PART);
            assert!(write(&mut server, &text, SOON).await.unwrap_err().is::<Elapsed>());
            drop(client);
            assert!(read(&mut server, 1, LIMIT).await.unwrap_err().is::<io::Error>());
            discard(&mut server, 1, LIMIT).await.unwrap();
        });
    }

    #[test]
    fn no_more_is_read_than_asked_for() {
        run(async {
            let (mut client, mut server) = duplex(2 * PART);
            client.write_all(&vec![b'x'; PART + 3]).await.unwrap();
            assert_eq!(read(&mut server, PART + 1, LIMIT).await.unwrap().len(), PART + 1);
            discard(&mut server, 1, LIMIT).await.unwrap();
            assert_eq!(read(&mut server, 1, LIMIT).await.unwrap(), b"x");
        });
    }
}
