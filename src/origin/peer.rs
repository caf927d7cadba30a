//! How a replica is reached: TLS, deadlines, pooling, in Pingora's terms.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::upgrade::UpgradeConnector;
use crate::config::{Http2, OriginServer, OriginTls, Pool, TlsFiles};
use crate::rules::phase::OriginPatch;

/// What TLS with the servers of a pool rests on.
#[derive(Default)]
pub struct Trust {
    /// Certificate authorities to trust, when not the system's.
    authorities: Option<Arc<CaType>>,
    /// What Seawall proves its own name with.
    identity: Option<Arc<CertKey>>,
    /// Of these files' content; other files make other connections.
    version: u64,
}

impl Trust {
    /// Reads the files that `tls` names.
    pub(super) fn load(tls: &OriginTls) -> Result<Self, String> {
        let ca = tls.ca.as_deref().map(certificates).transpose()?;
        let identity = tls.client.as_ref().map(identity).transpose()?;
        let mut hasher = DefaultHasher::new();
        ca.hash(&mut hasher);
        if let Some((chain, key)) = &identity {
            (chain, key.secret_der()).hash(&mut hasher);
        }
        let version = if ca.is_some() || identity.is_some() {
            hasher.finish()
        } else {
            0
        };
        let parsed = |certificate: &CertificateDer<'_>| {
            WrappedX509::try_new(certificate.to_vec(), |der| {
                X509Certificate::from_der(der).map(|(_, parsed)| parsed)
            })
        };
        let authorities = ca
            .map(|ca| ca.iter().map(parsed).collect::<Result<Vec<_>, _>>())
            .transpose()
            .map_err(|error| format!("{}: {error}", shown(tls.ca.as_deref())))?;
        let identity = identity.map(|(chain, key)| {
            let chain = chain.iter().map(|link| link.to_vec()).collect();
            Arc::new(CertKey::new(chain, key.secret_der().to_vec()))
        });
        Ok(Self {
            authorities: authorities.map(Into::into),
            identity,
            version,
        })
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

/// The certificates in a PEM file, which must be some.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&error))?;
    if certificates.is_empty() {
        return Err(failed(&"holds no certificate"));
    }
    Ok(certificates)
}

/// A certificate chain and its key, which fit together: Pingora takes that for granted.
fn identity(
    files: &TlsFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(&files.certificate)?;
    for link in &chain {
        X509Certificate::from_der(link)
            .map_err(|error| format!("{}: {error}", files.certificate.display()))?;
    }
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", files.key.display());
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&error))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
        .map_err(|error| failed(&error))?;
    Ok((chain, key))
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
    // An upgrade is of HTTP/1 alone (RFC 9113 §8.6).
    options.alpn = match pool.http2 {
        Http2::Negotiate if !upgraded => ALPN::H2H1,
        Http2::PriorKnowledge if !upgraded => ALPN::H2,
        _ => ALPN::H1,
    };
    options.max_h2_streams = pool.http2_max_streams;
    options.ca.clone_from(&trust.authorities);
    peer.client_cert_key.clone_from(&trust.identity);
    // Connections that were made with other files are not for this one.
    peer.group_key = trust.version & !1;
    if upgraded {
        options.custom_l4 = Some(Arc::new(UpgradeConnector {
            connect: timeouts.connect,
            first_byte: timeouts.first_byte,
        }));
        // Their connections are of another kind than the pooled ones.
        peer.group_key |= 1;
    }
    peer
}
