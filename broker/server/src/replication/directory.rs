//! Who is behind which member name: learnt by saying Hello, and kept for the life of the process.

use std::collections::BTreeMap;

use mainstay_record::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Adoption;

/// What a member said when it was last met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) node: NodeId,
    pub(crate) adoption: Adoption,
}

#[derive(Debug)]
pub(crate) struct Directory {
    met: Mutex<BTreeMap<String, Met>>,
    changed: watch::Sender<()>,
}

impl Directory {
    /// Knows the own node from the start.
    pub(crate) fn new(member: &str, node: NodeId) -> Self {
        let own = Met { node, adoption: Adoption::default() };
        Self { met: Mutex::new(BTreeMap::from([(member.to_owned(), own)])), changed: watch::Sender::new(()) }
    }

    /// Notes what a member said about itself; true when that is news.
    pub(crate) fn note(&self, member: &str, said: Met) -> bool {
        let news = {
            let mut met = self.met.lock();
            let news = met.get(member) != Some(&said);
            met.insert(member.to_owned(), said);
            news
        };
        if news {
            self.changed.send_replace(());
        }
        news
    }

    /// The name of the member that last said to be `node`.
    pub(crate) fn member(&self, node: NodeId) -> Option<String> {
        let met = self.met.lock();
        met.iter().find(|(_, said)| said.node == node).map(|(member, _)| member.clone())
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, Met> {
        self.met.lock().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
