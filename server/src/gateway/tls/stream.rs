//! A connection over TLS on the runtime: its handshake, and what HTTP reads and writes.

use super::session::Session;
use rustls::ServerConfig;
use std::{
    io::{self, Read, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

pub struct TlsStream {
    /// It goes on to a shard.
    session: Box<Session>,
    socket: TcpStream,
}

/// A socket as far as it is ready.
struct Ready<'a>(&'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl TlsStream {
    /// Does the handshake. The caller gives it time.
    pub async fn accept(config: Arc<ServerConfig>, socket: TcpStream) -> io::Result<Self> {
        let session = Session::new(config).map_err(io::Error::other)?;
        let mut session = Box::new(session);
        loop {
            match session.flush(&mut Ready(&socket)) {
                Ok(()) if !session.is_handshaking() => return Ok(Self { session, socket }),
                Ok(()) => {}
                Err(error) if would_block(&error) => {
                    socket.writable().await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            socket.readable().await?;
            match session.take_in(&mut Ready(&socket)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if would_block(&error) => {}
                Err(error) => {
                    // The client is told why, if its socket takes it now.
                    let _ = session.flush(&mut Ready(&socket));
                    return Err(error);
                }
            }
        }
    }

    /// The bare socket, and its session.
    pub fn into_parts(self) -> io::Result<(std::net::TcpStream, Box<Session>)> {
        Ok((self.socket.into_std()?, self.session))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { session, socket } = self.get_mut();
        loop {
            match session.read(&mut Ready(socket), buffer.initialize_unfilled()) {
                Ok(read) => {
                    buffer.advance(read);
                    // TLS' own answer; what does not leave now leaves with the next bytes.
                    let _ = session.flush(&mut Ready(socket));
                    return Poll::Ready(Ok(()));
                }
                Err(error) if would_block(&error) => ready!(socket.poll_read_ready(context))?,
                Err(error) => {
                    let _ = session.flush(&mut Ready(socket));
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { session, socket } = self.get_mut();
        loop {
            match session.write(&mut Ready(socket), bytes) {
                Err(error) if would_block(&error) => ready!(socket.poll_write_ready(context))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { session, socket } = self.get_mut();
        loop {
            match session.flush(&mut Ready(socket)) {
                Err(error) if would_block(&error) => ready!(socket.poll_write_ready(context))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.end();
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
