//! Chooses the addresses of the nodes, and notices before anything starts when one is taken.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use rand::TryRng;
use rand::rngs::SysRng;

use super::super::failure::Failure;

/// Where one node listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// TCP, for clients.
    pub(super) http: SocketAddr,
    /// UDP, for the other nodes.
    pub(super) mesh: SocketAddr,
}

/// Free ports are looked for here: below the range from which Linux takes ports for outgoing
/// connections, so that a node that restarts finds its port still free.
const FIRST_FREE: u16 = 20_000;
const LAST_FREE: u16 = 32_000;

/// So many tries before giving up; a machine with every other port taken passes in all likelihood.
const TRIES: usize = 200;

/// Addresses for `count` nodes; `http_port` 0 takes free ones, another is the first of a row.
pub(super) fn choose(count: u16, http_port: u16) -> Result<Vec<Addresses>, Failure> {
    let mut chosen: Vec<Addresses> = Vec::new();
    for i in 0..count {
        let taken: Vec<u16> = chosen.iter().flat_map(|node| [node.http.port(), node.mesh.port()]).collect();
        let http = match http_port {
            0 => free("HTTP", &taken, tcp_is_free)?,
            first => in_row(first, i)?,
        };
        let mesh = free("the mesh", &[taken, vec![http.port()]].concat(), udp_is_free)?;
        chosen.push(Addresses { http, mesh });
    }
    Ok(chosen)
}

/// Another mesh port if this one has been taken meanwhile.
pub(super) fn still_free_mesh(address: SocketAddr) -> SocketAddr {
    match udp_is_free(address) {
        Ok(()) => address,
        // Should none be free, the node says why it cannot start, and is tried again later.
        Err(_) => free("the mesh", &[], udp_is_free).unwrap_or(address),
    }
}

fn in_row(first: u16, i: u16) -> Result<SocketAddr, Failure> {
    let port = first.checked_add(i).ok_or_else(|| {
        Failure::usage(format!(
            "--http-port: there are no {} ports from {first} on; choose a lower one",
            i + 1
        ))
    })?;
    let address = loopback(port);
    tcp_is_free(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::usage(format!(
            "--http-port: {address} is in use by another program; stop it, or choose another port (0 takes free ones)"
        )),
        _ => Failure::usage(format!("--http-port: {address} cannot be used: {error}")),
    })?;
    Ok(address)
}

fn free(what: &str, taken: &[u16], is_free: fn(SocketAddr) -> io::Result<()>) -> Result<SocketAddr, Failure> {
    for _ in 0..TRIES {
        let mut dice = [0_u8; 2];
        SysRng
            .try_fill_bytes(&mut dice)
            .map_err(|error| Failure::failed(format!("the kernel gives no random bytes: {error}")))?;
        let port = FIRST_FREE + u16::from_le_bytes(dice) % (LAST_FREE - FIRST_FREE);
        if !taken.contains(&port) && is_free(loopback(port)).is_ok() {
            return Ok(loopback(port));
        }
    }
    Err(Failure::failed(format!("no free port for {what} was found from {FIRST_FREE} to {LAST_FREE}")))
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn tcp_is_free(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn udp_is_free(address: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_all_different() {
        let chosen = choose(20, 0).unwrap();
        let mut ports: Vec<u16> =
            chosen.iter().flat_map(|node| [node.http.port(), node.mesh.port()]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 40);
    }

    #[test]
    fn a_taken_port_is_named_before_anything_starts() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let Err(Failure::Usage(lines)) = choose(1, address.port()) else { panic!("it was chosen") };
        assert!(lines[0].contains(&address.to_string()) && lines[0].contains("--http-port"), "{lines:?}");
        let Err(Failure::Usage(lines)) = in_row(65_535, 1) else { panic!("there is no such port") };
        assert!(lines[0].contains("65535"), "{lines:?}");
    }
}
