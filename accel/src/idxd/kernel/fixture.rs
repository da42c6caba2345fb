//! A host of files: sysfs as the driver lays it out, and files as nodes.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Behind, Host};

/// A tree in a folder of its own, which goes away with it.
pub(super) struct Tree(PathBuf);

/// A device of the tree.
pub(super) struct Part<'a> {
    tree: &'a Tree,
    folder: &'static str,
}

impl Tree {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("pageferry-idxd-{}-{count}", std::process::id()));
        // One that a killed test left behind.
        let _ = fs::remove_dir_all(&root);
        let tree = Self(root);
        for folder in ["sysfs", "dev/dsa", "dev/iax"] {
            fs::create_dir_all(tree.0.join(folder)).unwrap();
        }
        tree
    }

    pub(super) fn host(&self) -> Host {
        Host { sysfs: self.0.join("sysfs"), nodes: self.0.join("dev"), behind: Behind::MappedModel }
    }

    /// Writes one attribute.
    pub(super) fn set(&self, folder: &str, attribute: &str, text: &str) {
        let folder = self.0.join("sysfs").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(attribute), format!("{text}\n")).unwrap();
    }

    pub(super) fn remove(&self, folder: &str, attribute: &str) {
        fs::remove_file(self.0.join("sysfs").join(folder).join(attribute)).unwrap();
    }

    fn set_all(&self, folder: &str, attributes: &[(&str, &str)]) {
        for (attribute, text) in attributes {
            self.set(folder, attribute, text);
        }
    }

    /// A DSA as Sapphire Rapids has it, with four engines in group 0.
    pub(super) fn dsa(&self, id: u32) -> Part<'_> {
        let name = format!("dsa{id}");
        self.device(&name, id, 4);
        self.set_all(
            &name,
            &[
                ("gen_cap", "0x40915f0107"),
                ("max_batch_size", "1024"),
                ("op_cap", "00000000,00000000,00000000,00000000,00000000,00000000,00000001,003f027d"),
            ],
        );
        Part { tree: self, folder: "dsa" }
    }

    /// An IAA as Sapphire Rapids has it, with eight engines in group 0.
    pub(super) fn iaa(&self, id: u32) -> Part<'_> {
        let name = format!("iax{id}");
        self.device(&name, id, 8);
        self.set_all(
            &name,
            &[
                ("gen_cap", "0x71f10901f0105"),
                ("op_cap", "00000000,00000000,00000000,00000000,00000000,007f331c,00000000,0000000d"),
            ],
        );
        Part { tree: self, folder: "iax" }
    }

    fn device(&self, name: &str, id: u32, engines: u32) {
        self.set_all(
            name,
            &[
                ("version", "0x100"),
                ("state", "enabled"),
                ("max_transfer_size", "2147483648"),
                ("pasid_enabled", "1"),
                ("numa_node", "-1"),
                ("cmd_status", "0"),
            ],
        );
        for engine in 0..engines {
            self.set(&format!("engine{id}.{engine}"), "group_id", "0");
        }
    }

    /// A node of one page of zeros.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        let path = self.0.join("dev").join(name);
        fs::write(&path, [0; 4096]).unwrap();
        path
    }

    /// A node without bytes.
    pub(super) fn empty_node(&self, name: &str) -> PathBuf {
        let path = self.0.join("dev").join(name);
        fs::write(&path, []).unwrap();
        path
    }
}

impl Part<'_> {
    /// An enabled, dedicated work queue for programs, with its node.
    pub(super) fn user_queue(&self, name: &str) -> &Self {
        self.tree.set_all(
            name,
            &[
                ("type", "user"),
                ("mode", "dedicated"),
                ("state", "enabled"),
                ("size", "16"),
                ("max_transfer_size", "2097152"),
                ("block_on_fault", "1"),
                ("driver_name", "user"),
                ("name", "pageferry"),
                ("clients", "0"),
                ("group_id", "0"),
            ],
        );
        if self.folder == "dsa" {
            self.tree.set(name, "max_batch_size", "32");
        }
        self.tree.node(&format!("{}/{name}", self.folder));
        self
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // What is left in a temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
