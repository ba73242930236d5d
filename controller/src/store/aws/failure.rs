//! What an error of AWS means. Its code is quoted and nothing else: messages hold the names of
//! accounts and roles, and ids of requests, which would make each text a new one.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::store::{StoreError, no_way};

/// A failure of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The code of AWS, made printable; empty if it answered none.
    code: String,
    kind: Kind,
    retry_after: Option<Duration>,
    /// Why there is no connection, if TLS or a proxy is the reason.
    no_way: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// AWS does not know the credentials, or no more.
    Identity,
    /// The identity may not do this.
    Denied,
    /// There is no such secret, or it is deleted.
    Missing,
    /// AWS limits requests.
    Throttled,
    /// It failed.
    Failed,
    /// No answer.
    Unreachable,
    /// No answer in time.
    TooSlow,
    /// The answer is no answer.
    Malformed,
    /// Another refusal.
    Other,
}

/// An error of the SDK, which may have a code.
pub(super) trait Coded: ProvideErrorMetadata + Error {}
impl<E: ProvideErrorMetadata + Error> Coded for E {}

impl Failure {
    /// The failure that the SDK reports.
    pub(super) fn of<E: Coded>(error: &SdkError<E, HttpResponse>) -> Self {
        let plain = |kind| Self {
            code: String::new(),
            kind,
            retry_after: None,
            no_way: None,
        };
        match error {
            SdkError::TimeoutError(_) => plain(Kind::TooSlow),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => plain(Kind::TooSlow),
            // Only the transport gives these, for an answer without an end.
            SdkError::DispatchFailure(failure) if failure.is_user() => plain(Kind::Malformed),
            SdkError::DispatchFailure(failure) => Self {
                no_way: failure.as_connector_error().and_then(|error| {
                    let untrusted = "is of an unknown CA: does a proxy intercept TLS?";
                    no_way("AWS", untrusted, error)
                }),
                ..plain(Kind::Unreachable)
            },
            SdkError::ServiceError(context) => {
                let (error, answer) = (context.err(), context.raw());
                let status = answer.status().as_u16();
                let mut failure = Self::of_code(error.code(), error.message(), status);
                let header = answer.headers().get("retry-after");
                let seconds = header.and_then(|value| value.trim().parse().ok());
                failure.retry_after = seconds.map(Duration::from_secs);
                failure
            }
            SdkError::ResponseError(context) => {
                Self::of_code(None, None, context.raw().status().as_u16())
            }
            _ => plain(Kind::Other),
        }
    }

    /// The failure that a code stands for, with the HTTP status that came with it.
    pub(super) fn of_code(code: Option<&str>, message: Option<&str>, status: u16) -> Self {
        let code = code.unwrap_or_default();
        let code: String = code
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_'))
            .take(60)
            .collect();
        let is_deletion = message.is_some_and(|text| {
            text.contains("marked for deletion") || text.contains("marked deleted")
        });
        let kind = match code.as_str() {
            "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "AuthFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidIdentityToken"
            | "IDPRejectedClaim" => Kind::Identity,
            "AccessDenied"
            | "AccessDeniedException"
            | "KMSAccessDeniedException"
            | "DecryptionFailure"
            | "InvalidKeyId" => Kind::Denied,
            "ResourceNotFoundException"
            | "ParameterNotFound"
            | "ParameterVersionNotFound"
            | "InvalidResourceId" => Kind::Missing,
            "InvalidRequestException" | "InvalidParameterException" if is_deletion => Kind::Missing,
            "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "RequestThrottled" => Kind::Throttled,
            "InternalServiceError"
            | "InternalServerError"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "IDPCommunicationError" => Kind::Failed,
            _ if status == 429 => Kind::Throttled,
            _ if status >= 500 => Kind::Failed,
            // What stands before AWS, or imitates it, knows no codes.
            "" if status == 403 => Kind::Denied,
            "" if status < 300 => Kind::Malformed,
            _ => Kind::Other,
        };
        Self {
            code: if code.is_empty() {
                status.to_string()
            } else {
                code
            },
            kind,
            retry_after: None,
            no_way: None,
        }
    }

    /// Does AWS refuse the credentials themselves?
    pub(super) fn is_of_identity(&self) -> bool {
        self.kind == Kind::Identity
    }

    /// Is the action refused, or a key of it?
    pub(super) fn is_denied(&self) -> bool {
        self.kind == Kind::Denied
    }

    /// Is there no such secret?
    pub(super) fn is_missing(&self) -> bool {
        self.kind == Kind::Missing
    }

    /// Would a call for one key alone end otherwise?
    pub(super) fn is_of_one_key(&self) -> bool {
        matches!(self.kind, Kind::Denied | Kind::Missing | Kind::Other)
    }

    /// The error of a read: the action and what it was for.
    pub(super) fn while_reading(&self, action: &str, key: &str) -> StoreError {
        let code = &self.code;
        match self.kind {
            Kind::Missing => StoreError::Missing(format!("AWS has no {key:?} ({code})")),
            Kind::Denied => StoreError::Denied(format!("AWS refuses {action} of {key:?} ({code})")),
            Kind::Other => StoreError::Answer(format!("AWS refuses {action} of {key:?}: {code}")),
            _ => self.general(),
        }
    }

    /// The error of a login: the action and the role, if it is about one.
    pub(super) fn while_logging_in(&self, action: &str, role: &str) -> StoreError {
        let code = &self.code;
        match (self.kind, self.code.as_str()) {
            (Kind::Denied | Kind::Missing, _) => {
                StoreError::Denied(format!("AWS refuses {action} of {role} ({code})"))
            }
            (Kind::Other, "ValidationError" | "RegionDisabledException") => {
                StoreError::Config(format!("AWS takes {role} for no role ({code})"))
            }
            (Kind::Other, _) => StoreError::Denied(format!("AWS refuses {action}: {code}")),
            _ => self.general(),
        }
    }

    /// The error of what is about no key.
    fn general(&self) -> StoreError {
        let code = &self.code;
        let what = match self.kind {
            Kind::Identity => {
                return StoreError::Denied(format!("AWS refuses the credentials ({code})"));
            }
            Kind::Malformed => {
                return StoreError::Answer("AWS's answer is malformed or too large".to_owned());
            }
            Kind::Throttled => format!("AWS limits requests ({code})"),
            Kind::Unreachable => {
                let why = self.no_way.clone();
                why.unwrap_or_else(|| "AWS cannot be reached".to_owned())
            }
            Kind::TooSlow => "AWS did not answer in time".to_owned(),
            _ => format!("AWS failed ({code})"),
        };
        StoreError::Unavailable {
            what,
            retry_after: self.retry_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(code: &str, message: &str, status: u16) -> StoreError {
        let code = Some(code).filter(|code| !code.is_empty());
        Failure::of_code(code, Some(message), status).while_reading("GetSecretValue", "team/db")
    }

    #[test]
    fn codes_of_aws_have_one_meaning_each() {
        let deleted = "the secret because it was marked for deletion.";
        let missing = [
            ("ResourceNotFoundException", ""),
            ("InvalidRequestException", deleted),
            ("InvalidParameterException", deleted),
            (
                "InvalidRequestException",
                "that's currently marked deleted.",
            ),
            ("ParameterNotFound", ""),
        ];
        for (code, message) in missing {
            let error = read(code, message, 400);
            assert!(matches!(error, StoreError::Missing(_)), "{code}: {error}");
        }
        for code in [
            "AccessDeniedException",
            "DecryptionFailure",
            "ExpiredTokenException",
        ] {
            let error = read(code, "", 400);
            assert!(
                matches!(&error, StoreError::Denied(what) if what.contains(code)),
                "{error}"
            );
        }
        for (code, status) in [
            ("ThrottlingException", 400),
            ("", 429),
            ("", 503),
            ("InternalServiceError", 500),
        ] {
            let error = read(code, "", status);
            assert!(
                matches!(error, StoreError::Unavailable { .. }),
                "{code}: {error}"
            );
        }
        let error = read("", "<xml/>", 403);
        assert!(matches!(error, StoreError::Denied(_)), "{error}");
        let error = read("", "", 200);
        assert_eq!(error.to_string(), "AWS's answer is malformed or too large");
        let other = read("InvalidRequestException", "no current version", 400);
        assert!(matches!(other, StoreError::Answer(_)), "{other}");
    }

    #[test]
    fn nothing_of_a_message_is_quoted_and_codes_are_short_words() {
        let error = read("Acc ess\nDenied\u{202e}<x>", "User: arn:aws:iam::1", 400).to_string();
        assert_eq!(
            error,
            "AWS refuses GetSecretValue of \"team/db\": AccessDeniedx"
        );
        assert!(read(&"x".repeat(9_000), "", 400).to_string().len() < 200);
    }
}
