"""moto behind a door that refuses what AWS refuses, and moto does not: requests that are signed wrongly or
at a wrong time, and roles for everybody whom the role's trust policy does not name.

Access keys, sessions, roles and OpenID Connect providers are those that moto has. It is one regional
endpoint of all services. What it does not check: who signed a web identity token (moto cannot ask the
issuer), and what an identity may do (moto's own `reset-auth` does, and then asks for a permission of the
identity beside the trust policy, also where AWS would not). Of conditions in trust policies it knows
StringEquals; a policy with another one is an error of the test, and answered with 500.

Sources: "Create a signed AWS API request" and "IAM JSON policy elements" in the User Guide of IAM, the API
reference of STS, and the answers of AWS that people quote.
"""

import argparse
import base64
import hmac
import io
import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from hashlib import sha256
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sts.models import sts_backends
from werkzeug import Request, Response
from werkzeug.serving import run_simple

ALGORITHM = "AWS4-HMAC-SHA256"
# How far the time of a request may be from that of AWS.
TOLERANCE = timedelta(minutes=5)
PARTITION = "aws"
# The rig itself, which makes users and roles, signs nothing.
RIG = "sealkit-rig"

# Services by what their requests have: the beginning of X-Amz-Target, or the Version in a form.
JSON_SERVICES = {"secretsmanager": "secretsmanager", "AmazonSSM": "ssm", "AmazonSQS": "sqs"}
STS_VERSION = "2011-06-15"

# Codes of JSON services, and of STS.
UNSIGNED = ("MissingAuthenticationTokenException", "MissingAuthenticationToken")
INCOMPLETE = ("IncompleteSignatureException", "IncompleteSignature")
UNKNOWN = ("UnrecognizedClientException", "InvalidClientTokenId")
EXPIRED = ("ExpiredTokenException", "ExpiredToken")
WRONG = ("InvalidSignatureException", "SignatureDoesNotMatch")


class Refusal(Exception):
    """What AWS answers in place of a result."""

    def __init__(self, codes, message, status=403):
        super().__init__(message)
        self.codes, self.message, self.status = codes, message, status

    def response(self, is_json):
        if is_json:
            content = json.dumps({"__type": self.codes[0], "message": self.message})
            return Response(content, status=400, content_type="application/x-amz-json-1.1")
        content = (
            f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/{STS_VERSION}/"><Error><Type>Sender</Type>'
            f"<Code>{self.codes[1]}</Code><Message>{escape(self.message)}</Message></Error>"
            f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
        return Response(content, status=self.status, content_type="text/xml")


def sts_refusal(code, message, status):
    return Refusal((code, code), message, status)


@dataclass
class Caller:
    """Who has an access key."""

    arn: str
    # ARNs that trust policies name it by.
    names: set
    secret_key: str
    session_token: str | None = None
    expiration: datetime | None = None


class Strict:
    """A WSGI application before another one, for one region."""

    def __init__(self, application, region):
        self.application, self.region = application, region
        self.ahead = timedelta()

    def __call__(self, environ, start_response):
        request = Request(environ)
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)
        answer = self.application
        if request.headers.get("User-Agent") != RIG:
            try:
                self.check(request, body)
            except Refusal as refusal:
                answer = refusal.response("X-Amz-Target" in request.headers)
        elif request.path == "/strict/clock":
            self.ahead = timedelta(seconds=int(body))
            answer = Response()
        return answer(environ, start_response)

    def now(self):
        return datetime.now(timezone.utc) + self.ahead

    def check(self, request, body):
        target = request.headers.get("X-Amz-Target")
        if target:
            service = JSON_SERVICES[target.split(".")[0]]
            self.caller(request, body, service)
            return
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        assert form["Version"] == STS_VERSION
        if form["Action"] == "AssumeRoleWithWebIdentity":
            check_web_identity(form, self.now())
            return
        caller = self.caller(request, body, "sts")
        if form["Action"] == "AssumeRole":
            check_role(form, caller)

    def caller(self, request, body, service):
        """Who signed the request, which is for this service."""
        headers = request.headers
        if "Authorization" not in headers:
            raise Refusal(UNSIGNED, "Missing Authentication Token")
        algorithm, _, rest = headers["Authorization"].partition(" ")
        parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        scope = parts.get("Credential", "").split("/")
        signed = parts.get("SignedHeaders", "").split(";")
        is_whole = algorithm == ALGORITHM and len(scope) == 5 and "Signature" in parts
        if not is_whole or "X-Amz-Date" not in headers or not signs_enough(signed, headers):
            raise Refusal(INCOMPLETE, "The request signature does not conform to AWS standards.", 400)
        key, day, region, scoped_to, end = scope
        caller = holder(key, headers.get("X-Amz-Security-Token"))
        if caller.expiration and caller.expiration <= self.now():
            raise Refusal(EXPIRED, "The security token included in the request is expired")
        if region != self.region:
            raise Refusal(WRONG, f"Credential should be scoped to a valid region, not '{region}'. ")
        if scoped_to != service:
            raise Refusal(WRONG, f"Credential should be scoped to correct service: '{service}'. ")
        if end != "aws4_request":
            raise Refusal(WRONG, "Credential should be scoped with a valid terminator: 'aws4_request'. ")
        self.check_time(headers["X-Amz-Date"], day)
        expected = signature(request, body, signed, caller, region, service)
        if not hmac.compare_digest(expected, parts["Signature"]):
            message = (
                "The request signature we calculated does not match the signature you provided. Check your "
                "AWS Secret Access Key and signing method. Consult the service documentation for details."
            )
            raise Refusal(WRONG, message)
        return caller

    def check_time(self, stamp, day):
        try:
            time = datetime.strptime(stamp, SIGV4_TIMESTAMP).replace(tzinfo=timezone.utc)
        except ValueError:
            raise Refusal(INCOMPLETE, "Date must be in ISO-8601 'basic format'.", 400) from None
        if not stamp.startswith(day):
            raise Refusal(WRONG, "Date in Credential scope does not match YYYYMMDD from X-Amz-Date. ")
        now = self.now()
        shown = [at.strftime(SIGV4_TIMESTAMP) for at in (now - TOLERANCE, now, now + TOLERANCE)]
        if time < now - TOLERANCE:
            message = f"Signature expired: {stamp} is now earlier than {shown[0]} ({shown[1]} - 5 min.)"
            raise Refusal(WRONG, message)
        if time > now + TOLERANCE:
            message = f"Signature not yet current: {stamp} is still later than {shown[2]} ({shown[1]} + 5 min.)"
            raise Refusal(WRONG, message)


def signs_enough(signed, headers):
    """Is all of it signed that must be: the host, and each header of AWS?"""
    needed = {"host"} | {name.lower() for name in headers.keys() if name.lower().startswith("x-amz-")}
    return needed <= set(signed)


def signature(request, body, signed, caller, region, service):
    """The signature that the caller's secret key makes for a request."""
    headers = {name: value for name, value in request.headers.items() if name.lower() in signed}
    # botocore takes the client's word for it.
    claimed = headers.get("X-Amz-Content-Sha256")
    if claimed and claimed != sha256(body).hexdigest():
        raise Refusal(WRONG, "The value of X-Amz-Content-SHA256 is not the hash of the content.")
    # As it was sent: PATH_INFO is decoded.
    url = f"http://{request.headers['Host']}{request.environ['RAW_URI']}"
    sent = AWSRequest(method=request.method, url=url, data=body, headers=headers)
    sent.context["timestamp"] = request.headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("", caller.secret_key), service, region)
    return auth.signature(auth.string_to_sign(sent, auth.canonical_request(sent)), sent)


def holder(key, session_token):
    """Who has an access key: a user of IAM, or the session of a role."""
    for caller in users(key) or sessions(key):
        if caller.session_token == session_token:
            return caller
    raise Refusal(UNKNOWN, "The security token included in the request is invalid.")


def users(key):
    return [
        Caller(user.arn, {user.arn, *account_names(account)}, found.secret_access_key)
        for account in list(iam_backends)
        for user in iam_backends[account][PARTITION].users.values()
        for found in user.access_keys
        if found.access_key_id == key and found.status == "Active"
    ]


def sessions(key):
    return [
        Caller(
            session.arn,
            {session.arn, session.role_arn, *account_names(account)},
            session.secret_access_key,
            session.session_token,
            session.expiration.replace(tzinfo=timezone.utc),
        )
        for account in list(sts_backends)
        for session in sts_backends[account][PARTITION].assumed_roles
        if session.access_key_id == key
    ]


def account_names(account):
    return {account, f"arn:{PARTITION}:iam::{account}:root"}


def check_role(form, caller):
    """May the caller have the role, and with these tags?"""
    tags = {
        value: form.get(name.removesuffix("Key") + "Value", "")
        for name, value in form.items()
        if name.startswith("Tags.member.") and name.endswith(".Key")
    }
    context = {f"aws:RequestTag/{key}": [value] for key, value in tags.items()}
    context["sts:RoleSessionName"] = [form["RoleSessionName"]]
    if "ExternalId" in form:
        context["sts:ExternalId"] = [form["ExternalId"]]
    role = form["RoleArn"]
    for action in ["sts:AssumeRole"] + ["sts:TagSession"] * bool(tags):
        if not is_trusted(role, action, "AWS", caller.names, context):
            message = f"User: {caller.arn} is not authorized to perform: {action} on resource: {role}"
            raise sts_refusal("AccessDenied", message, 403)


def check_web_identity(form, now):
    """May whom the token names have the role? Anybody may have made the token."""
    try:
        claims = form["WebIdentityToken"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        issuer = claims["iss"].removeprefix("https://")
        audiences, subject, expiration = listed(claims["aud"]), claims["sub"], claims["exp"]
    except (KeyError, IndexError, ValueError):
        raise sts_refusal("InvalidIdentityToken", "The ID Token provided is not a valid JWT.", 400) from None
    role = form["RoleArn"]
    account = role.split(":")[4]
    provider = f"arn:{PARTITION}:iam::{account}:oidc-provider/{issuer}"
    known = iam_backends[account][PARTITION].open_id_providers.get(provider)
    if not known:
        message = f"No OpenIDConnect provider found in your account for {claims['iss']}"
        raise sts_refusal("InvalidIdentityToken", message, 400)
    if not set(audiences) & set(known.client_id_list):
        raise sts_refusal("InvalidIdentityToken", "Incorrect token audience", 400)
    if expiration <= now.timestamp():
        message = (
            f"Token expired: current date/time {int(now.timestamp())} must be before the expiration "
            f"date/time {expiration}"
        )
        raise sts_refusal("ExpiredTokenException", message, 400)
    context = {f"{issuer}:sub": [subject], f"{issuer}:aud": audiences}
    if not is_trusted(role, "sts:AssumeRoleWithWebIdentity", "Federated", {provider}, context):
        raise sts_refusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)


def is_trusted(role, action, kind, names, context):
    """Does the role's trust policy allow the action to a principal of this kind, which has these names? A
    role that does not exist trusts nobody."""
    roles = iam_backends[role.split(":")[4]][PARTITION].get_roles()
    policies = [found.assume_role_policy_document for found in roles if found.arn == role]
    context = {key.lower(): values for key, values in context.items()}
    effects = [
        statement["Effect"]
        for policy in policies
        for statement in listed(json.loads(policy)["Statement"])
        if any(fnmatchcase(action.lower(), allowed.lower()) for allowed in listed(statement["Action"]))
        and is_named(statement["Principal"], kind, names)
        and is_met(statement.get("Condition", {}), context)
    ]
    return "Allow" in effects and "Deny" not in effects


def is_named(principal, kind, names):
    named = "*" if principal == "*" else principal.get(kind, [])
    return not ({"*"} | names).isdisjoint(listed(named))


def is_met(condition, context):
    """Do values of the request equal the policy's? A key that the request does not have equals none."""
    if condition.keys() - {"StringEquals"}:
        raise NotImplementedError(f"{condition.keys()} in a trust policy")
    equals = condition.get("StringEquals", {}).items()
    return all(set(listed(values)) & set(context.get(key.lower(), [])) for key, values in equals)


def listed(value):
    return value if isinstance(value, list) else [value]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", dest="host", required=True)
    parser.add_argument("-p", dest="port", type=int, required=True)
    parser.add_argument("--region", required=True)
    arguments = parser.parse_args()
    application = Strict(DomainDispatcherApplication(create_backend_app), arguments.region)
    run_simple(arguments.host, arguments.port, application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
