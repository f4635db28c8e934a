//! TLS (RFC 8446, RFC 5246) on a socket that nobody waits for: what is sealed goes out as far as the socket takes it.

use std::io::{self, Read as _, Write as _};

use rustls::ServerConnection;
use tokio::net::TcpStream;

/// Sealed octets that wait for the socket at most; it is four records.
const SEALED: usize = 64 * 1024;

/// Our end of a TLS connection.
pub(super) struct Secured {
    tls: ServerConnection,
    /// About how many octets are sealed and not sent, their overhead left out; 0 where there are none.
    sealed: usize,
}

/// The socket as the standard library's traits have it; it takes and gives what it can at once.
struct Socket<'s>(&'s TcpStream);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl io::Write for Socket<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Secured {
    pub fn new(mut tls: ServerConnection) -> Self {
        tls.set_buffer_limit(Some(SEALED));
        Self { tls, sealed: 0 }
    }

    /// Octets that wait for the socket, about.
    pub fn backlog(&self) -> usize {
        if self.tls.wants_write() { self.sealed.max(1) } else { 0 }
    }

    pub fn is_shaking_hands(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Seals as many octets as have room, and sends; how many, at least one.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] where there is no room; the socket's.
    pub fn put(&mut self, stream: &TcpStream, octets: &[u8]) -> io::Result<usize> {
        let taken = self.tls.writer().write(octets)?;
        self.sealed += taken;
        let sent = self.flush(stream)?;
        match taken {
            // There may be room now.
            0 if sent > 0 => Err(io::ErrorKind::Interrupted.into()),
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => Ok(taken),
        }
    }

    /// Sends what is sealed as far as the socket takes it; how many octets.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut sent = 0;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    sent += count;
                    self.sealed = self.sealed.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sealed = 0;
        Ok(sent)
    }

    /// Takes in what the socket has, and hands out what is in it, by way of `buffer`; whether more may come.
    ///
    /// # Errors
    /// The socket's; [`io::ErrorKind::InvalidData`] where the peer breaks the rules: it is told so.
    pub fn receive(&mut self, stream: &TcpStream, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        match self.tls.read_tls(&mut Socket(stream)) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
        if let Err(error) = self.tls.process_new_packets() {
            // The alert; a peer that does not take it gets none.
            let _ = self.flush(stream);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        loop {
            match self.tls.reader().read(buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => take(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more comes, if the socket takes it.
    pub fn say_goodbye(&mut self, stream: &TcpStream) {
        self.tls.send_close_notify();
        let _ = self.flush(stream);
    }
}
