//! The committed YAML equals what the types generate, in `crds/yaml` and in the chart.
//! `UPDATE_CRDS=1 cargo test -p mainstay-crds --test drift` writes the files.

use std::{fs, path::Path};

#[test]
fn committed_yaml_is_what_the_types_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("yaml"), root.join("../charts/mainstay/files/crds")];
    let files = mainstay_crds::yaml_files().expect("definitions can be written as YAML");
    for folder in &folders {
        if std::env::var_os("UPDATE_CRDS").is_some() {
            fs::create_dir_all(folder).expect("folder can be created");
            for (name, text) in &files {
                fs::write(folder.join(name), text).expect("file can be written");
            }
        }
        for (name, text) in &files {
            let path = folder.join(name);
            let committed =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(committed == *text, "{} differs from the types: run with UPDATE_CRDS=1", path.display());
        }
        let count = fs::read_dir(folder).expect("folder can be listed").count();
        assert_eq!(count, files.len(), "{} holds a file that nothing generates", folder.display());
    }
}
