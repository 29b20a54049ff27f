//! Sockets that systemd opened for us (sd_listen_fds(3)): SCIM first, then the admin address, then the admin socket. Fewer
//! may be given; the rest is opened by the configuration.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// What was given. It wins over the configuration's addresses.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Where SCIM is served.
    pub scim: Option<TcpListener>,
    /// The admin address.
    pub admin: Option<TcpListener>,
    /// The admin socket, for the command line.
    pub socket: Option<UnixListener>,
}

impl Inherited {
    /// Takes them, and the variables that name them. To be called while the process has one thread: variables are removed.
    ///
    /// # Errors
    /// One is not of the kind that is expected in its place, or there are too many: in a sentence.
    pub fn take() -> Result<Self, String> {
        let mut given = ListenFd::from_env();
        if given.len() > 3 {
            return Err(format!(
                "{} sockets were given, and there are three at most: SCIM, the admin address, the admin socket",
                given.len()
            ));
        }
        let told = |place, what: &str, why: &dyn std::fmt::Display| {
            format!(
                "the {place} socket that was given has to be {what}, in the order SCIM, admin address, admin socket: {why}"
            )
        };
        let mut tcp = |index, place, what| {
            let taken = given.take_tcp_listener(index);
            let taken = taken.map_err(|why| told(place, what, &why))?;
            if let Some(listener) = &taken {
                prepare(listener, TcpListener::set_nonblocking)
                    .map_err(|why| told(place, what, &why))?;
            }
            Ok::<_, String>(taken)
        };
        let scim = tcp(0, "first", "a TCP socket that listens, for SCIM")?;
        let admin = tcp(
            1,
            "second",
            "a TCP socket that listens, for the admin address",
        )?;
        let what = "a Unix stream socket that listens, for the command line";
        let socket = given.take_unix_listener(2);
        let socket = socket.map_err(|why| told("third", what, &why))?;
        if let Some(listener) = &socket {
            prepare(listener, UnixListener::set_nonblocking)
                .map_err(|why| told("third", what, &why))?;
        }
        Ok(Self {
            scim,
            admin,
            socket,
        })
    }
}

/// Kind and family are checked by listenfd; a socket of the right kind may still be a connection (`Accept=yes`).
fn prepare<L: AsFd>(
    listener: &L,
    set_nonblocking: fn(&L, bool) -> std::io::Result<()>,
) -> Result<(), String> {
    match rustix::net::sockopt::socket_acceptconn(listener) {
        Ok(true) => {}
        Ok(false) => return Err(String::from("it does not listen (is it Accept=yes?)")),
        Err(why) => return Err(why.to_string()),
    }
    set_nonblocking(listener, true).map_err(|why| why.to_string())
}
