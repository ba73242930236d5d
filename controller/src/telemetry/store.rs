//! What calls of providers are saved, and which providers are away.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderResult {
    provider: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderState {
    provider: &'static str,
    state: &'static str,
}

/// See the module's documentation.
#[derive(Default)]
pub struct StoreMetrics {
    reads: Family<ProviderResult, Counter>,
    sessions: Family<ProviderState, Gauge>,
}

impl StoreMetrics {
    /// Those of the registry.
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register(
            "store_reads",
            "Reads of values, by whether they called the provider or shared an earlier read",
            this.reads.clone(),
        );
        registry.register(
            "store_sessions",
            "Sessions with providers, by whether the provider answers",
            this.sessions.clone(),
        );
        this
    }

    /// Somebody read a value.
    pub fn read(&self, provider: &'static str, is_shared: bool) {
        let result = if is_shared { "shared" } else { "called" };
        let label = ProviderResult { provider, result };
        self.reads.get_or_create(&label).inc();
    }

    /// Sets the sessions there are: their providers, and whether these answer.
    pub fn set_sessions(&self, sessions: impl IntoIterator<Item = (&'static str, bool)>) {
        self.sessions.clear();
        for (provider, answers) in sessions {
            let state = if answers { "open" } else { "unavailable" };
            let label = ProviderState { provider, state };
            self.sessions.get_or_create(&label).inc();
        }
    }
}
