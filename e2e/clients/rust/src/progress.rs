//! Counts what happens, and prints the counts as JSON lines meanwhile and at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::history::{Fields, fields};

#[derive(Debug)]
pub(crate) struct Progress {
    client: String,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// Prints regularly until it is dropped.
#[derive(Debug)]
pub(crate) struct Printing(Option<JoinHandle<()>>);

impl Progress {
    pub(crate) fn new(client: &str, names: &[&'static str]) -> Arc<Self> {
        let counts = Mutex::new(names.iter().map(|name| (*name, 0)).collect());
        Arc::new(Self { client: client.to_owned(), counts })
    }

    pub(crate) fn print_every(self: &Arc<Self>, period: Duration) -> Printing {
        let own = Arc::clone(self);
        Printing((!period.is_zero()).then(|| {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(period).await;
                    own.print(Fields::new());
                }
            })
        }))
    }

    pub(crate) fn add(&self, name: &'static str, number: u64) {
        *self.counts().entry(name).or_default() += number;
    }

    pub(crate) fn raise(&self, name: &'static str, number: u64) {
        let mut counts = self.counts();
        let count = counts.entry(name).or_default();
        *count = number.max(*count);
    }

    pub(crate) fn all(&self) -> Fields {
        self.counts().iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect()
    }

    /// The last line.
    pub(crate) fn finish(&self, printing: Printing) {
        drop(printing);
        self.print(fields(json!({ "final": true })));
    }

    fn print(&self, more: Fields) {
        let mut line = self.all();
        line.insert("client".to_owned(), json!(self.client));
        line.extend(more);
        println!("{}", Value::Object(line));
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Printing {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
