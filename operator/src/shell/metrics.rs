//! What the operator counts. Labels come from fixed lists only.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Kind of an action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActionLabel {
    pub action: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// 1 on the operator that acts.
    pub active: Gauge,
    pub clusters: Gauge,
    pub rounds: Counter,
    pub actions: Family<ActionLabel, Counter>,
    pub failovers: Counter,
    pub round_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("mainstay_operator");
        let buckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
        let metrics = Self {
            active: Gauge::default(),
            clusters: Gauge::default(),
            rounds: Counter::default(),
            actions: Family::default(),
            failovers: Counter::default(),
            round_seconds: Histogram::new(buckets),
            registry: Registry::default(),
        };
        registry.register("active", "1 on the operator that acts", metrics.active.clone());
        registry.register("clusters", "BrokerClusters looked after", metrics.clusters.clone());
        registry.register("rounds", "Looks at a broker group", metrics.rounds.clone());
        registry.register("actions", "Acts by kind and outcome", metrics.actions.clone());
        registry.register(
            "failovers",
            "Leaders replaced without having handed over",
            metrics.failovers.clone(),
        );
        registry.register("round_seconds", "Duration of a look", metrics.round_seconds.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    pub fn count(&self, action: &'static str, outcome: &'static str) {
        self.actions.get_or_create(&ActionLabel { action, outcome }).inc();
    }

    /// Everything in the text format of Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
