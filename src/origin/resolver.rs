//! Who is asked for names.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// One that asks `server`, or else whom the system asks; `who` wants it.
pub(crate) fn of(server: Option<SocketAddr>, who: &str) -> Option<TokioResolver> {
    let builder = match server {
        None => TokioResolver::builder_tokio(),
        Some(address) => {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            let own = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            Ok(TokioResolver::builder_with_config(
                own,
                TokioRuntimeProvider::default(),
            ))
        }
    };
    let built = builder.and_then(|mut builder| {
        // Answers are kept by who asked, not here as well.
        builder.options_mut().cache_size = 0;
        builder.build()
    });
    match built {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            tracing::error!(who, %error, "no name resolution: the resolver's configuration is unusable");
            None
        }
    }
}
