//! Who is who in a local cluster: a throw-away certificate authority, a certificate for each program, kubeconfigs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use super::layout::{API_SERVER, API_SERVICE_ADDRESS, CONTROL_ADDRESS, Layout, Node};

/// The group whose members may do everything.
const ADMINISTRATORS: &str = "system:masters";

/// Writes every key, certificate and kubeconfig. `api_port` is where programs on the host reach the API server.
pub(super) fn write(layout: &Layout, nodes: &[Node], api_port: u16) -> Result<()> {
    for folder in ["pki", "kubeconfigs"] {
        fs::create_dir_all(layout.path(folder)).with_context(|| format!("create {folder}"))?;
    }
    let authority = Authority::new(layout)?;
    authority.issue_server("api-server")?;
    // What the API server shows to the kubelets when it fetches logs or runs commands.
    authority.issue_client("api-server-kubelet-client", "kube-apiserver-kubelet-client", ADMINISTRATORS)?;
    write_service_account_keys(layout)?;

    authority.kubeconfig("admin", "admin", ADMINISTRATORS, API_SERVER)?;
    authority.kubeconfig("controller-manager", "system:kube-controller-manager", "", API_SERVER)?;
    authority.kubeconfig("scheduler", "system:kube-scheduler", "", API_SERVER)?;
    authority.kubeconfig("proxy", "system:kube-proxy", "", API_SERVER)?;
    authority.kubeconfig("dns", "dns", ADMINISTRATORS, API_SERVER)?;
    for node in nodes {
        let name = node.name();
        authority.kubeconfig(&name, &format!("system:node:{name}"), "system:nodes", API_SERVER)?;
    }
    let host =
        authority.kubeconfig("host", "admin", ADMINISTRATORS, &format!("https://127.0.0.1:{api_port}"))?;
    let kubeconfig = host_kubeconfig(layout);
    fs::copy(&host, &kubeconfig).with_context(|| format!("write {}", kubeconfig.display()))?;
    Ok(())
}

/// For programs on the host: the API server by a port of the host.
pub(super) fn host_kubeconfig(layout: &Layout) -> PathBuf {
    layout.path("kubeconfig")
}

/// For programs in the cluster's network.
pub(super) fn kubeconfig(layout: &Layout, name: &str) -> PathBuf {
    layout.path("kubeconfigs").join(name)
}

pub(super) fn authority_certificate(layout: &Layout) -> PathBuf {
    certificate(layout, "ca")
}

pub(super) fn certificate(layout: &Layout, name: &str) -> PathBuf {
    layout.path("pki").join(format!("{name}.crt"))
}

pub(super) fn key(layout: &Layout, name: &str) -> PathBuf {
    layout.path("pki").join(format!("{name}.key"))
}

struct Authority<'a> {
    layout: &'a Layout,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    fn new(layout: &'a Layout) -> Result<Self> {
        let key = KeyPair::generate().context("generate the authority's key")?;
        let mut params = parameters("mainstay-local-ca", "")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).context("sign the authority's certificate")?;
        write_file(&authority_certificate(layout), &certificate.pem(), 0o644)?;
        Ok(Self { layout, issuer: Issuer::new(params, key) })
    }

    fn issue_server(&self, name: &str) -> Result<()> {
        let mut params = CertificateParams::new(
            [
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
                "localhost",
                "127.0.0.1",
                API_SERVICE_ADDRESS,
                CONTROL_ADDRESS,
            ]
            .map(str::to_owned),
        )
        .context("name the API server")?;
        params.distinguished_name = distinguished_name("kube-apiserver", "");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(name, params)
    }

    /// A certificate by which Kubernetes takes its bearer for `user`, a member of `group`.
    fn issue_client(&self, name: &str, user: &str, group: &str) -> Result<()> {
        let mut params = parameters(user, group)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(name, params)
    }

    fn issue(&self, name: &str, params: CertificateParams) -> Result<()> {
        let pair = KeyPair::generate().with_context(|| format!("generate the key of {name}"))?;
        let signed = params
            .signed_by(&pair, &self.issuer)
            .with_context(|| format!("sign the certificate of {name}"))?;
        write_file(&certificate(self.layout, name), &signed.pem(), 0o644)?;
        write_file(&key(self.layout, name), &pair.serialize_pem(), 0o600)
    }

    fn kubeconfig(&self, name: &str, user: &str, group: &str, server: &str) -> Result<PathBuf> {
        self.issue_client(name, user, group)?;
        let text = format!(
            "apiVersion: v1
kind: Config
clusters:
- name: mainstay-local
  cluster:
    server: {server}
    certificate-authority: {authority}
users:
- name: {user}
  user:
    client-certificate: {certificate}
    client-key: {key}
contexts:
- name: mainstay-local
  context:
    cluster: mainstay-local
    user: {user}
current-context: mainstay-local
",
            authority = authority_certificate(self.layout).display(),
            certificate = certificate(self.layout, name).display(),
            key = key(self.layout, name).display(),
        );
        let path = kubeconfig(self.layout, name);
        write_file(&path, &text, 0o600)?;
        Ok(path)
    }
}

/// The pair that signs and checks the tokens of service accounts.
fn write_service_account_keys(layout: &Layout) -> Result<()> {
    let pair = KeyPair::generate().context("generate the service accounts' key")?;
    write_file(&key(layout, "service-accounts"), &pair.serialize_pem(), 0o600)?;
    write_file(&layout.path("pki/service-accounts.pub"), &pair.public_key_pem(), 0o644)
}

fn parameters(common_name: &str, organisation: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("name a certificate")?;
    params.distinguished_name = distinguished_name(common_name, organisation);
    Ok(params)
}

fn distinguished_name(common_name: &str, organisation: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if !organisation.is_empty() {
        name.push(DnType::OrganizationName, organisation);
    }
    name
}

fn write_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("write {}", path.display()))
}
