//! The sandbox on the wire: hyper in front of [`State`]. Decides nothing but which door a path is.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::control;
use super::state::{Act, Answer, State, Taken};
use super::token;
use super::zoom::{self, Call, Door};
use crate::provision::call::Method;

/// What the paths of Zoom's SCIM API begin with.
pub(super) const BASE_PATH: &str = "/scim2";

const CONTROL: &str = "/control";

/// The largest body, in bytes.
const BODY: usize = 1 << 20;

/// The budget of a connection that is not to be cut.
const WHOLE: u64 = u64::MAX;

/// Serves until `stopped`, then closes every connection.
pub(super) async fn serve(listener: TcpListener, state: State, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Said or dropped: both mean stop.
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, state.clone()));
                }
                // Out of file descriptors: some will be back in a moment.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, state: State) {
    // Without it an answer may wait for the acknowledgement of the one before. Not having it is only slower.
    let _slower = stream.set_nodelay(true);
    let budget = Arc::new(AtomicU64::new(WHOLE));
    let stream = Cuttable {
        stream,
        budget: Arc::clone(&budget),
    };
    let service = service_fn(|request| handle(request, peer, &state, &budget));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    // It ends in an error whenever a fault closes it.
    let _ended = served.await;
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

async fn handle(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: &State,
    budget: &AtomicU64,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(wrong) if wrong.is::<LengthLimitError>() => {
            return Ok(refusal(413, "The request body is too large."));
        }
        Err(_) => return Err(Closed),
    };
    let method = zoom::method(head.method.as_str());
    if let Some(path) = head.uri.path().strip_prefix(CONTROL) {
        if !peer.ip().to_canonical().is_loopback() {
            return Ok(refusal(
                403,
                "The control endpoint answers loopback addresses only.",
            ));
        }
        let (status, body) = control::answer(state, method, path, &body);
        return Ok(response(status, body.to_string().into()));
    }
    let whole = head.uri.path();
    let (door, path) = if whole == token::PATH && method == Some(Method::Post) {
        (Door::Token, whole)
    } else if let Some(path) = state.below_base(whole) {
        (Door::Scim, path)
    } else {
        return Ok(refusal(404, "The requested resource does not exist."));
    };
    let authorization = head.headers.get(AUTHORIZATION);
    let call = Call {
        method,
        path,
        query: head.uri.query(),
        body: &body,
        door,
        authorization: authorization.and_then(|value| value.to_str().ok()),
    };
    let Taken {
        act,
        headers,
        plain,
        _under_way,
    } = state.take(call, body.clone());
    let answer = match act {
        Act::Answer(answer) => answer,
        Act::Late {
            answer,
            due,
            ticket,
        } => {
            state.clock().sleep_until(due).await;
            state.answered(ticket, answer.status);
            answer
        }
        Act::Hold {
            mut released,
            ticket,
        } => {
            // The sender lives in `state`, so this cannot fail while we wait.
            let _gone = released.changed().await;
            state.carry_out(call, ticket)
        }
        Act::Close => return Err(Closed),
    };
    if let Some(bytes) = answer.cut {
        budget.store(bytes, Ordering::Relaxed);
    }
    let mut response = write(answer, plain);
    for (name, value) in headers {
        insert(&mut response, name, value);
    }
    Ok(response)
}

fn refusal(status: u16, detail: &str) -> Response<Full<Bytes>> {
    response(status, zoom::error_body(status, detail).to_string().into())
}

fn insert(response: &mut Response<Full<Bytes>>, name: &'static str, value: String) {
    // A fault may ask for what no header can carry.
    if let Ok(value) = HeaderValue::try_from(value) {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, value);
    }
}

fn write(answer: Answer, plain: bool) -> Response<Full<Bytes>> {
    let mut response = response(answer.status, answer.body);
    for (name, value) in answer.headers {
        insert(&mut response, name, value);
    }
    let headers = response.headers_mut();
    if plain && headers.contains_key(CONTENT_TYPE) {
        let json = HeaderValue::from_static("application/json;charset=UTF-8");
        headers.insert(CONTENT_TYPE, json);
    }
    if answer.cut.is_some() {
        // Also when the answer is shorter than the cut.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn response(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let empty = body.is_empty();
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !empty {
        let json = HeaderValue::from_static("application/scim+json;charset=UTF-8");
        response.headers_mut().insert(CONTENT_TYPE, json);
    }
    response
}

/// A stream that breaks after so many bytes written.
struct Cuttable {
    stream: TcpStream,
    /// How many bytes may still be written; [`WHOLE`]: any number.
    budget: Arc<AtomicU64>,
}

impl AsyncRead for Cuttable {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, into)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let left = this.budget.load(Ordering::Relaxed);
        if left == WHOLE {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..most).unwrap_or(bytes);
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            let count = u64::try_from(count).unwrap_or(left);
            this.budget
                .store(left.saturating_sub(count), Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
