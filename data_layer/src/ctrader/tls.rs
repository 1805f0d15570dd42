//! TLS for the Open API. Beyond loopback the machine's own roots decide; on loopback a root may be named that is trusted there only.

use crate::error::{Error, Result, code};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A connection of ours to a server.
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn broken(e: impl std::fmt::Display) -> Error {
    Error::new(code::NET_UNREACHABLE, "TLS could not be set up").cause(e.to_string())
}

/// What connects to `host`: with the roots of this machine, or with `only_root` (PEM) and nothing else.
pub struct Connector {
    inner: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    pub fn new(host: &str, only_root: Option<&[u8]>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        match only_root {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    roots.add(certificate.map_err(broken)?).map_err(broken)?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() {
            return Err(broken("there is no root certificate to trust").fix("sudo apt install ca-certificates"));
        }
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(broken)?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_string()).map_err(broken)?;
        Ok(Self { inner: TlsConnector::from(Arc::new(config)), name })
    }

    /// Connect, shake hands, check the certificate.
    pub async fn connect(&self, host: &str, port: u16) -> std::io::Result<ClientStream> {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        self.inner.connect(self.name.clone(), tcp).await
    }
}

/// What answers connections with a certificate chain and its key (PEM).
pub fn acceptor(chain: &[u8], key: &[u8]) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<std::result::Result<Vec<_>, _>>().map_err(broken)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(broken)?;
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(broken)?;
    let config = config.with_no_client_auth().with_single_cert(chain, key).map_err(broken)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
