//! Sockets of this process that a library has opened and does not hand out (proc_pid_fd(5)).

#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, RawFd};
use std::{fs, io};

use socket2::{SockRef, Socket, Type};

/// The UDP sockets of this process that are bound to a port at all addresses, each as a handle of its own.
///
/// # Errors
/// The system's, where it does not list the descriptors.
pub fn udp_sockets_at(port: u16) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        // SAFETY: the system was asked for the number, and it is used on the spot, for its name and to be duplicated. Where it has been closed
        // since, both fail; where it is another by now, the duplicate is looked at once more.
        let listed = unsafe { BorrowedFd::borrow_raw(number) };
        if !is_at(&SockRef::from(&listed), port) {
            continue;
        }
        if let Some(socket) = listed.try_clone_to_owned().ok().map(Socket::from).filter(|socket| is_at(socket, port)) {
            found.push(socket);
        }
    }
    Ok(found)
}

fn is_at(socket: &Socket, port: u16) -> bool {
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    address.is_some_and(|address| address.port() == port && address.ip().is_unspecified())
        && socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_socket_is_found_by_its_port_and_what_is_done_to_it_is_done_to_the_one_that_was_opened() {
        // Somebody else may have the same port of TCP.
        let both = || {
            let opened = UdpSocket::bind("[::]:0").expect("a socket");
            let port = opened.local_addr().expect("its address").port();
            Some((opened, port, TcpListener::bind(("::", port)).ok()?))
        };
        let (opened, port, _stream) = (0..20).find_map(|_| both()).expect("a port of both kinds");
        let found = udp_sockets_at(port).expect("the descriptors are listed");
        assert_eq!(found.len(), 1);
        found[0].set_broadcast(true).expect("an option");
        assert!(opened.broadcast().expect("an option"));
        let near = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        assert!(udp_sockets_at(near.local_addr().expect("its address").port()).expect("they are listed").is_empty(), "at one address");
    }
}
