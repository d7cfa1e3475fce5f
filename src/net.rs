//! HTTP clients: one for each sort of connection in a process. Root certificates are built in, for systems that have
//! none.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use reqwest::{Certificate, Client, redirect};

/// A sort of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Longest time until the connection stands.
    pub timeout: Duration,
    /// The host is on this machine; such a connection never goes through a proxy.
    pub is_loopback: bool,
    /// The URL is `https`. Without TLS nobody needs certificates, so none are loaded.
    pub is_tls: bool,
    /// Whether redirects are followed. False where a request carries a body or a prompt.
    pub follows: bool,
}

/// Returns true for a host on this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Returns the client for a sort of connection; it is built on first use.
///
/// # Errors
///
/// The client cannot be built.
pub fn client(connection: Connection) -> Result<Client, reqwest::Error> {
    static CLIENTS: OnceLock<Mutex<HashMap<Connection, Client>>> = OnceLock::new();
    let mut clients = CLIENTS.get_or_init(Mutex::default).lock().expect("no panic while locked");
    if let Some(client) = clients.get(&connection) {
        return Ok(client.clone());
    }
    let Connection { timeout, is_loopback, is_tls, follows } = connection;
    // From the second call on this is an error, since the provider is installed already; that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok());
    let mut builder = Client::builder()
        .redirect(if follows { redirect::Policy::limited(5) } else { redirect::Policy::none() })
        .connect_timeout(timeout)
        .pool_max_idle_per_host(usize::MAX)
        .user_agent(concat!("etalon/", env!("CARGO_PKG_VERSION")));
    // Also without TLS to the endpoint, a proxy may be reached over TLS.
    builder = if is_tls || !is_loopback { builder.tls_certs_merge(roots) } else { builder.tls_certs_only([]) };
    if is_loopback {
        // On this machine there is no proxy, and compressing would gain nothing.
        builder = builder.no_proxy().no_gzip();
    }
    let client = builder.build()?;
    clients.insert(connection, client.clone());
    Ok(client)
}
