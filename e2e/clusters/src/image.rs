//! Container images without a container engine: an OCI image layout in a tar archive, from programs and files of
//! this machine.
//!
//! The archive has one layer and also carries the `manifest.json` of `docker save`, so containerd, kind and Docker all
//! load it. The same input gives the same bytes: no time stamps, entries in order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The user and group that images run as, and that test clients run as on the host. A number, because the kubelet's
/// `runAsNonRoot` cannot judge a name.
pub const NON_ROOT_ID: u32 = 65532;

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What an image is to contain; see the module's page for what is written.
#[derive(Debug, Clone)]
pub struct Image {
    reference: String,
    entrypoint: Vec<String>,
    user: u32,
    labels: BTreeMap<String, String>,
    environment: Vec<String>,
    /// Path in the image, without the leading slash, to what is there.
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Folder {
        mode: u32,
    },
    /// Content of a file of this machine.
    File {
        source: PathBuf,
        mode: u32,
    },
    Text {
        content: Vec<u8>,
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
}

impl Image {
    /// An image of the given name and tag (`mainstay-broker:dev`) with a `/tmp` and nothing else in it, whose
    /// program runs as [`NON_ROOT_ID`].
    pub fn new(reference: impl Into<String>) -> Self {
        let mut image = Self {
            reference: reference.into(),
            entrypoint: Vec::new(),
            user: NON_ROOT_ID,
            labels: BTreeMap::new(),
            environment: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            entries: BTreeMap::new(),
        };
        image.entries.insert("tmp".into(), Entry::Folder { mode: 0o1777 });
        image
    }

    /// The program that the image starts and its first arguments.
    pub fn entrypoint<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = words.into_iter().map(Into::into).collect();
        self
    }

    /// Runs the program as another user and group than [`NON_ROOT_ID`].
    pub fn user(mut self, id: u32) -> Self {
        self.user = id;
        self
    }

    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push(format!("{name}={value}"));
        self
    }

    /// Puts a program of this machine at an absolute path of the image, executable for everybody.
    pub fn program(self, source: impl Into<PathBuf>, path: impl AsRef<Path>) -> Result<Self> {
        let source = source.into();
        self.insert(path.as_ref(), Entry::File { source, mode: 0o755 })
    }

    /// Puts a small file of the given text at an absolute path of the image.
    pub fn text(self, content: impl Into<Vec<u8>>, path: impl AsRef<Path>) -> Result<Self> {
        self.insert(path.as_ref(), Entry::Text { content: content.into(), mode: 0o644 })
    }

    /// Puts a folder of this machine, with everything in it, at an absolute path of the image.
    pub fn tree(mut self, source: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<Self> {
        let source = source.as_ref();
        let path = path.as_ref();
        let entries = fs::read_dir(source).with_context(|| format!("list {}", source.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", source.display()))?;
            let (from, to) = (entry.path(), path.join(entry.file_name()));
            let metadata =
                fs::symlink_metadata(&from).with_context(|| format!("look at {}", from.display()))?;
            if metadata.is_dir() {
                self = self.insert(&to, Entry::Folder { mode: 0o755 })?.tree(&from, &to)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&from).with_context(|| format!("read link {}", from.display()))?;
                self = self.insert(&to, Entry::Link { target })?;
            } else if metadata.is_file() {
                // Owner and umask of the building machine must not decide who can read the image.
                let mode = if metadata.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                self = self.insert(&to, Entry::File { source: from, mode })?;
            } else {
                bail!("{} is neither file, folder nor symbolic link", from.display());
            }
        }
        Ok(self)
    }

    /// The full name that Kubernetes resolves the short one to.
    pub fn full_reference(&self) -> String {
        full_reference(&self.reference)
    }

    /// Writes the image as a tar archive to be loaded into a cluster.
    pub fn write(&self, archive: &Path) -> Result<()> {
        ensure!(!self.entrypoint.is_empty(), "image {} has no entrypoint", self.reference);
        if let Some(folder) = archive.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        let layer_path = archive.with_extension("layer");
        let (layer, layer_size) = self.write_layer(&layer_path)?;
        let result = self.write_archive(archive, &layer_path, &layer, layer_size);
        fs::remove_file(&layer_path).with_context(|| format!("remove {}", layer_path.display()))?;
        result.with_context(|| format!("write {}", archive.display()))
    }

    fn insert(mut self, path: &Path, entry: Entry) -> Result<Self> {
        let relative = path
            .strip_prefix("/")
            .with_context(|| format!("{} is not an absolute path in the image", path.display()))?;
        ensure!(
            relative.components().all(|component| matches!(component, Component::Normal(_))),
            "{} is not a plain path in the image",
            path.display()
        );
        for folder in relative.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            self.entries.entry(folder.to_owned()).or_insert(Entry::Folder { mode: 0o755 });
        }
        self.entries.insert(relative.to_owned(), entry);
        Ok(self)
    }

    /// Writes the layer and returns its digest and size.
    fn write_layer(&self, path: &Path) -> Result<(String, u64)> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut archive = tar::Builder::new(Hashing::new(BufWriter::new(file)));
        // The map's order puts every folder before what is in it.
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry)
                .with_context(|| format!("add /{} to the image", path.display()))?;
        }
        let mut hashing = archive.into_inner().context("finish the layer")?;
        hashing.flush().context("write the layer")?;
        Ok((digest_name(&hashing.hash.finalize()), hashing.written))
    }

    fn write_archive(&self, archive: &Path, layer_path: &Path, layer: &str, layer_size: u64) -> Result<()> {
        let full = self.full_reference();
        let tag = full.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": format!("{0}:{0}", self.user),
                "Entrypoint": self.entrypoint,
                "Env": self.environment,
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        }))?;
        let config_digest = digest_name(&Sha256::digest(&config));
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": layer_size}],
        }))?;
        let manifest_digest = digest_name(&Sha256::digest(&manifest));
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": MANIFEST_TYPE,
                "digest": manifest_digest,
                "size": manifest.len(),
                "annotations": {
                    "io.containerd.image.name": full,
                    "org.opencontainers.image.ref.name": tag,
                },
            }],
        }))?;
        let docker_manifest = serde_json::to_vec(&json!([{
            "Config": blob(&config_digest),
            "RepoTags": [self.reference],
            "Layers": [blob(layer)],
        }]))?;

        let file = File::create(archive).context("create the archive")?;
        let mut tar = tar::Builder::new(BufWriter::new(file));
        let mut add = |name: &str, content: &[u8]| {
            tar.append_data(&mut header(tar::EntryType::Regular, 0o644, content.len() as u64), name, content)
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", &index)?;
        add("manifest.json", &docker_manifest)?;
        add(&blob(&manifest_digest), &manifest)?;
        add(&blob(&config_digest), &config)?;
        let content = File::open(layer_path).context("open the layer")?;
        tar.append_data(&mut header(tar::EntryType::Regular, 0o644, layer_size), blob(layer), content)?;
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

/// What a short image name means to Docker, containerd and the kubelet.
fn full_reference(reference: &str) -> String {
    let tagged = match reference.rsplit_once('/').map_or(reference, |(_, name)| name).contains(':') {
        true => reference.to_owned(),
        false => format!("{reference}:latest"),
    };
    match tagged.split_once('/') {
        None => format!("docker.io/library/{tagged}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => tagged,
        Some(_) => format!("docker.io/{tagged}"),
    }
}

fn append<W: Write>(archive: &mut tar::Builder<W>, path: &Path, entry: &Entry) -> Result<()> {
    match entry {
        Entry::Folder { mode } => {
            archive.append_data(&mut header(tar::EntryType::Directory, *mode, 0), path, io::empty())?;
        }
        Entry::Text { content, mode } => {
            let mut header = header(tar::EntryType::Regular, *mode, content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
        Entry::File { source, mode } => {
            let file = File::open(source).with_context(|| format!("open {}", source.display()))?;
            let size = file.metadata().with_context(|| format!("look at {}", source.display()))?.len();
            archive.append_data(&mut header(tar::EntryType::Regular, *mode, size), path, file)?;
        }
        Entry::Link { target } => {
            archive.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, target)?;
        }
    }
    Ok(())
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn digest_name(hash: &[u8]) -> String {
    format!("sha256:{}", hex(hash))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes and counts what passes through, so that the layer is read only once more, for the archive.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    written: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), written: 0 }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn entries(archive: impl Read) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(entry.path().unwrap().to_string_lossy().into_owned(), content);
        }
        found
    }

    fn sample(folder: &Path) -> Image {
        fs::create_dir_all(folder.join("tree/deep")).unwrap();
        fs::write(folder.join("tree/deep/file"), "deep").unwrap();
        std::os::unix::fs::symlink("deep/file", folder.join("tree/link")).unwrap();
        fs::write(folder.join("program"), "#!").unwrap();
        Image::new("sample:dev")
            .entrypoint(["/bin/program", "run"])
            .label("a", "b")
            .program(folder.join("program"), "/bin/program")
            .unwrap()
            .tree(folder.join("tree"), "/opt/tree")
            .unwrap()
    }

    #[test]
    fn an_archive_is_an_oci_layout_whose_digests_fit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out/image.tar");
        sample(folder.path()).write(&path).unwrap();
        let archive = entries(File::open(&path).unwrap());
        for (name, content) in archive.iter().filter(|(name, _)| name.starts_with("blobs/")) {
            assert_eq!(*name, blob(&digest_name(&Sha256::digest(content))));
        }
        let json = |content: &[u8]| serde_json::from_slice::<serde_json::Value>(content).unwrap();
        let index = json(&archive["index.json"]);
        assert_eq!(
            index["manifests"][0]["annotations"]["io.containerd.image.name"],
            "docker.io/library/sample:dev"
        );
        let manifest = json(&archive[&blob(index["manifests"][0]["digest"].as_str().unwrap())]);
        let config = json(&archive[&blob(manifest["config"]["digest"].as_str().unwrap())]);
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/program", "run"]));
        assert_eq!(config["config"]["Labels"]["a"], "b");
        let layer = entries(&*archive[&blob(manifest["layers"][0]["digest"].as_str().unwrap())]);
        let names: Vec<_> = layer.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "bin",
                "bin/program",
                "opt",
                "opt/tree",
                "opt/tree/deep",
                "opt/tree/deep/file",
                "opt/tree/link",
                "tmp"
            ]
        );
        assert_eq!(layer["opt/tree/deep/file"], b"deep");
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let image = sample(folder.path());
        let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
        image.write(&first).unwrap();
        image.write(&second).unwrap();
        assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
    }

    #[test]
    fn short_names_mean_what_docker_means_by_them() {
        assert_eq!(full_reference("a:dev"), "docker.io/library/a:dev");
        assert_eq!(full_reference("a"), "docker.io/library/a:latest");
        assert_eq!(full_reference("me/a:1"), "docker.io/me/a:1");
        assert_eq!(full_reference("localhost:5000/a"), "localhost:5000/a:latest");
    }

    #[test]
    fn paths_in_the_image_must_be_absolute_and_plain() {
        assert!(Image::new("a").text("x", "etc/x").is_err());
        assert!(Image::new("a").text("x", "/etc/../x").is_err());
    }
}
