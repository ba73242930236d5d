//! Where the services of AWS are: at the endpoints of the region, or where the process environment
//! says. Nothing else is read from it.

use std::env;

use reqwest::Url;

use crate::store::StoreError;

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    SecretsManager,
    ParameterStore,
    Sts,
    Queues,
}

impl Service {
    /// Variables that name its endpoint: of the SDK, and of External Secrets.
    fn variables(self) -> [&'static str; 2] {
        match self {
            Self::SecretsManager => [
                "AWS_ENDPOINT_URL_SECRETS_MANAGER",
                "AWS_SECRETSMANAGER_ENDPOINT",
            ],
            Self::ParameterStore => ["AWS_ENDPOINT_URL_SSM", "AWS_SSM_ENDPOINT"],
            Self::Sts => ["AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT"],
            Self::Queues => ["AWS_ENDPOINT_URL_SQS", "AWS_SQS_ENDPOINT"],
        }
    }

    /// The endpoint that the environment names, if it names one.
    pub(super) fn endpoint(self) -> Result<Option<String>, StoreError> {
        self.named(|name| env::var(name).ok())
    }

    fn named(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, StoreError> {
        let names = self.variables().into_iter().chain(["AWS_ENDPOINT_URL"]);
        for name in names {
            let Some(url) = variable(name).filter(|url| !url.is_empty()) else {
                continue;
            };
            let is_url = url
                .parse::<Url>()
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !is_url {
                let what = format!("the controller's variable {name} is no URL of http or https");
                return Err(StoreError::Config(what));
            }
            return Ok(Some(url));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_endpoints_of_single_services_first() {
        let named = |service: Service, set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(set, _)| *set == name);
            service.named(|name| find(name).map(|(_, url)| (*url).to_owned()))
        };
        let all = [
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_SECRETSMANAGER_ENDPOINT", "http://one"),
            ("AWS_STS_ENDPOINT", ""),
        ];
        let url = |service| named(service, &all).unwrap();
        assert_eq!(url(Service::SecretsManager).unwrap(), "http://one");
        assert_eq!(url(Service::Sts).unwrap(), "http://all");
        assert_eq!(named(Service::Sts, &[]), Ok(None));
        for bad in ["ftp://host", "host:1", "http://"] {
            let error = named(Service::Sts, &[("AWS_STS_ENDPOINT", bad)]).unwrap_err();
            assert!(
                error.to_string().contains("AWS_STS_ENDPOINT"),
                "{bad}: {error}"
            );
        }
    }
}
