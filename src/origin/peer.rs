//! How a replica is reached: TLS, deadlines, pooling, in Pingora's terms.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::WrappedX509;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::upgrade::UpgradeConnector;
use crate::config::{OriginServer, OriginTls, Pool};
use crate::rules::phase::OriginPatch;

/// Certificate authorities to trust, when not the system's.
pub(super) struct Trust {
    authorities: Option<Arc<CaType>>,
}

impl Trust {
    /// Reads the file that `tls` names.
    pub(super) fn load(tls: &OriginTls) -> Result<Self, String> {
        let Some(path) = &tls.ca else {
            return Ok(Self { authorities: None });
        };
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| failed(&error))?;
        if certificates.is_empty() {
            return Err(failed(&"holds no certificate"));
        }
        let authorities = certificates
            .into_iter()
            .map(|certificate| {
                WrappedX509::try_new(certificate.to_vec(), |der| {
                    X509Certificate::from_der(der).map(|(_, parsed)| parsed)
                })
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(&error))?;
        Ok(Self {
            authorities: Some(authorities.into()),
        })
    }
}

/// The peer for one request.
pub(super) fn http_peer(
    pool: &Pool,
    trust: &Trust,
    address: SocketAddr,
    server: &OriginServer,
    upgraded: bool,
    patch: &OriginPatch,
) -> HttpPeer {
    // Without a name Pingora verifies nothing: an address is verified as an address.
    let name = patch.sni.as_deref().or(pool.tls.server_name.as_deref());
    let name = name.map_or_else(
        || match server.host.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => server.host.clone(),
        },
        str::to_owned,
    );
    let mut address = address;
    address.set_port(patch.port.unwrap_or(address.port()));
    let mut peer = HttpPeer::new(address, server.https, name);
    let timeouts = &pool.timeouts;
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(if upgraded {
        timeouts.upgraded_idle
    } else {
        timeouts.between_bytes
    });
    options.write_timeout = Some(timeouts.between_bytes);
    options.idle_timeout = Some(timeouts.idle);
    options.verify_cert = pool.tls.verify;
    options.verify_hostname = pool.tls.verify;
    options.alpn = ALPN::H1;
    options.ca.clone_from(&trust.authorities);
    if upgraded {
        options.custom_l4 = Some(Arc::new(UpgradeConnector {
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
        }));
        // Their connections are of another kind than the pooled ones.
        peer.group_key = 1;
    }
    peer
}
