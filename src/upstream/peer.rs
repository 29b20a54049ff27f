//! A small hand-written HTTP peer for tests: it does what it is told, request by request, and counts.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What a peer does with the next request.
pub(crate) enum Act {
    /// Sends this and keeps the connection.
    Send(Vec<u8>),
    /// Sends this and closes it.
    Cut(Vec<u8>),
    /// Says nothing and keeps it.
    Silence,
}

/// A peer that goes through `acts`, one a request, on whatever connection it comes, and tells of each request.
pub(crate) async fn peer(acts: Vec<Act>) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/scim2", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let acts = Arc::new(Mutex::new(acts.into_iter()));
        while let Ok((mut stream, _)) = listener.accept().await {
            let (acts, tell) = (Arc::clone(&acts), tell.clone());
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    tell.send(request).unwrap();
                    let act = acts.lock().unwrap().next();
                    match act {
                        // A client that gave up may have closed it.
                        Some(Act::Send(bytes)) => drop(stream.write_all(&bytes).await),
                        Some(Act::Cut(bytes)) => return drop(stream.write_all(&bytes).await),
                        Some(Act::Silence) => {}
                        None => panic!("one request too many"),
                    }
                }
            });
        }
    });
    (url, told)
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() == length {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
}
