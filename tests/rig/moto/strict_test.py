"""What strict.py lets through and what it refuses, with requests that botocore signs. The rig's tests run
it."""

import base64
import json
import unittest
from datetime import timedelta

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from werkzeug import Response
from werkzeug.test import Client

import strict

REGION = "eu-west-1"
ACCOUNT = "123456789012"
IAM = iam_backends[ACCOUNT]["aws"]
STS = sts_backends[ACCOUNT]["aws"]
ISSUER = "cluster.example"
READ = {"X-Amz-Target": "secretsmanager.GetSecretValue", "Content-Type": "application/x-amz-json-1.1"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def made_user(name):
    IAM.create_user(REGION, name)
    key = IAM.create_access_key(name)
    return Credentials(key.access_key_id, key.secret_access_key)


def made_role(name, *statements):
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return IAM.create_role(name, policy, "/", None, "", [], None).arn


def allow(principal, *actions, **equals):
    statement = {"Effect": "Allow", "Principal": principal, "Action": list(actions)}
    return statement | ({"Condition": {"StringEquals": equals["equals"]}} if equals else {})


class StrictTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.user = made_user("reader")
        cls.user_arn = f"arn:aws:iam::{ACCOUNT}:user/reader"

    def setUp(self):
        self.strict = strict.Strict(Response("passed"), REGION)
        self.client = Client(self.strict)

    def signed(self, headers=READ, body=b"{}", credentials=None, service="secretsmanager", region=REGION):
        request = AWSRequest("POST", "http://aws.example/?b=2&a=1%2F", headers=headers, data=body)
        SigV4Auth(credentials or self.user, service, region).add_auth(request)
        return dict(request.headers) | {"Host": "aws.example"}

    def send(self, headers, body=b"{}", url="/?b=2&a=1%2F"):
        """The answer's status and text."""
        answer = self.client.post(url, headers=headers, data=body)
        return answer.status_code, answer.get_data(as_text=True)

    def assert_refused(self, answer, code, status=400):
        self.assertEqual(answer[0], status, answer[1])
        self.assertIn(code, answer[1])

    def ask(self, form, credentials=None):
        """The answer of STS to a form, signed if there are credentials."""
        body = f"Version=2011-06-15&RoleSessionName=s&{form}".encode()
        headers = self.signed(FORM, body, credentials, "sts") if credentials else FORM
        return self.send(headers, body)

    def test_what_botocore_signs_passes_and_a_changed_byte_does_not(self):
        headers = self.signed()
        self.assertEqual(self.send(headers), (200, "passed"))
        authorization = headers["Authorization"]
        last = "1" if authorization[-1] == "0" else "0"
        day = headers["X-Amz-Date"][:8]

        def scoped(part, other):
            return self.send(headers | {"Authorization": authorization.replace(f"/{part}", f"/{other}", 1)})

        for name, changed in [
            ("content", self.send(headers, b"{ }")),
            ("query", self.send(headers, url="/?b=2&a=1%2f")),
            ("path", self.send(headers, url="/x?b=2&a=1%2F")),
            ("host", self.send(headers | {"Host": "aws.examplf"})),
            ("operation", self.send(headers | {"X-Amz-Target": "secretsmanager.GetSecretValuf"})),
            ("signature", self.send(headers | {"Authorization": authorization[:-1] + last})),
            ("claimed hash", self.send(self.signed(READ | {"X-Amz-Content-SHA256": "0" * 64}))),
            ("secret key", self.send(self.signed(credentials=Credentials(self.user.access_key, "x" * 40)))),
            ("region", self.send(self.signed(region="eu-west-2"))),
            ("service", self.send(self.signed(service="ssm"))),
            ("day of the scope", scoped(day, "20200101")),
            ("region of the scope", scoped(REGION, "eu-west-2")),
            ("service of the scope", scoped("secretsmanager", "ssm")),
            ("end of the scope", scoped("aws4_request", "aws4")),
        ]:
            with self.subTest(name):
                self.assert_refused(changed, "InvalidSignatureException")

    def test_a_request_without_a_whole_signature_is_refused(self):
        headers = self.signed()
        self.assert_refused(self.send(READ), "MissingAuthenticationTokenException")
        for name, more in [
            ("no signature", {"Authorization": headers["Authorization"].split(", Signature")[0]}),
            ("unsigned header of AWS", {"X-Amz-More": "x"}),
        ]:
            with self.subTest(name):
                self.assert_refused(self.send(headers | more), "IncompleteSignatureException")
        del headers["X-Amz-Date"]
        self.assert_refused(self.send(headers), "IncompleteSignatureException")

    def test_the_time_may_be_wrong_by_less_than_five_minutes(self):
        for seconds, says in [(290, None), (-290, None), (310, "Signature expired"), (-310, "not yet current")]:
            with self.subTest(seconds):
                self.strict.ahead = timedelta(seconds=seconds)
                answer = self.send(self.signed())
                if says:
                    self.assert_refused(answer, "InvalidSignatureException")
                    self.assertIn(says, answer[1])
                else:
                    self.assertEqual(answer, (200, "passed"))

    def test_keys_are_known_while_they_last_and_sessions_with_their_token(self):
        role = STS.assume_role(REGION, "s", f"arn:aws:iam::{ACCOUNT}:role/any", None, 3600, None)
        key, secret = role.access_key_id, role.secret_access_key
        session = Credentials(key, secret, role.session_token)
        self.assertEqual(self.send(self.signed(credentials=session)), (200, "passed"))
        for credentials in [
            Credentials("AKIAUNKNOWN", "x"),
            Credentials(key, secret),
            Credentials(key, secret, "another"),
            Credentials(self.user.access_key, self.user.secret_key, "another"),
        ]:
            answer = self.send(self.signed(credentials=credentials))
            self.assert_refused(answer, "UnrecognizedClientException")
        self.strict.ahead = timedelta(hours=2)
        self.assert_refused(self.send(self.signed(credentials=session)), "ExpiredTokenException")
        gone = made_user("gone")
        IAM.update_access_key("gone", gone.access_key, "Inactive")
        self.assert_refused(self.send(self.signed(credentials=gone)), "UnrecognizedClientException")

    def test_sts_refuses_in_xml_with_its_own_codes(self):
        forger = Credentials(self.user.access_key, "x" * 40)
        self.assertEqual(self.ask("Action=GetCallerIdentity", self.user)[0], 200)
        for credentials, code in [
            (forger, "SignatureDoesNotMatch"),
            (Credentials("AKIAUNKNOWN", "x"), "InvalidClientTokenId"),
            (None, "MissingAuthenticationToken"),
        ]:
            answer = self.ask("Action=GetCallerIdentity", credentials)
            self.assert_refused(answer, f"<Code>{code}</Code>", 403)

    def test_a_role_is_given_as_its_trust_policy_says(self):
        own, root = {"AWS": self.user_arn}, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        asks_id = allow(own, "sts:AssumeRole", equals={"sts:ExternalId": ["a", "b"]})
        tagged = allow(root, "sts:*", equals={"aws:RequestTag/team": "web"})
        denied = {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}
        tags = "&Tags.member.1.Key=team&Tags.member.1.Value="
        for name, statements, more, refused in [
            ("own", [allow(own, "sts:AssumeRole")], "", None),
            ("root", [allow(root, "sts:AssumeRole")], "", None),
            ("anybody", [allow("*", "sts:AssumeRole")], "", None),
            ("other", [allow({"AWS": f"arn:aws:iam::{ACCOUNT}:user/other"}, "sts:AssumeRole")], "", "AssumeRole"),
            ("federated", [allow({"Federated": self.user_arn}, "sts:AssumeRole")], "", "AssumeRole"),
            ("action", [allow(own, "sts:TagSession")], "", "AssumeRole"),
            ("denied", [allow(own, "sts:AssumeRole"), denied], "", "AssumeRole"),
            ("id", [asks_id], "&ExternalId=b", None),
            ("no-id", [asks_id], "", "AssumeRole"),
            ("wrong-id", [asks_id], "&ExternalId=B", "AssumeRole"),
            ("tags", [tagged], tags + "web", None),
            ("wrong-tags", [tagged], tags + "shop", "AssumeRole"),
            ("no-tag-session", [allow(own, "sts:AssumeRole")], tags + "web", "TagSession"),
        ]:
            with self.subTest(name):
                role = made_role(name, *statements)
                answer = self.ask(f"Action=AssumeRole&RoleArn={role}{more}", self.user)
                if not refused:
                    self.assertEqual(answer, (200, "passed"))
                    continue
                says = f"User: {self.user_arn} is not authorized to perform: sts:{refused} on resource: {role}"
                self.assert_refused(answer, "<Code>AccessDenied</Code>", 403)
                self.assertIn(says, answer[1])
        missing = self.ask(f"Action=AssumeRole&RoleArn=arn:aws:iam::{ACCOUNT}:role/missing", self.user)
        self.assert_refused(missing, "AccessDenied", 403)

    def test_a_condition_that_is_not_known_is_no_answer(self):
        unknown = allow("*", "sts:AssumeRole") | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        role = made_role("unknown", unknown)
        with self.assertRaises(NotImplementedError):
            self.ask(f"Action=AssumeRole&RoleArn={role}", self.user)

    def test_a_session_is_trusted_as_its_role(self):
        first = f"arn:aws:iam::{ACCOUNT}:role/first"
        next_role = made_role("next", allow({"AWS": first}, "sts:AssumeRole"))
        for name, status in [("first", 200), ("second", 403)]:
            role = STS.assume_role(REGION, "s", f"arn:aws:iam::{ACCOUNT}:role/{name}", None, 3600, None)
            session = Credentials(role.access_key_id, role.secret_access_key, role.session_token)
            self.assertEqual(self.ask(f"Action=AssumeRole&RoleArn={next_role}", session)[0], status)

    def test_a_web_identity_is_whom_the_trust_policy_names(self):
        IAM.create_open_id_connect_provider(f"https://{ISSUER}", [], ["sts.amazonaws.com"], [])
        provider = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{ISSUER}"}
        equals = {f"{ISSUER}:sub": "system:serviceaccount:shop:app", f"{ISSUER}:aud": "sts.amazonaws.com"}
        role = made_role("irsa", allow(provider, "sts:AssumeRoleWithWebIdentity", equals=equals))
        claims = {
            "iss": f"https://{ISSUER}",
            "aud": ["sts.amazonaws.com"],
            "sub": "system:serviceaccount:shop:app",
            "exp": self.strict.now().timestamp() + 60,
        }

        def answer(**changed):
            text = base64.urlsafe_b64encode(json.dumps(claims | changed).encode()).decode().rstrip("=")
            return self.ask(f"Action=AssumeRoleWithWebIdentity&RoleArn={role}&WebIdentityToken=e30.{text}.x")

        self.assertEqual(answer(), (200, "passed"))
        self.assert_refused(answer(sub="system:serviceaccount:shop:other"), "AccessDenied", 403)
        self.assert_refused(answer(iss="https://other.example"), "InvalidIdentityToken")
        self.assert_refused(answer(aud=["other"]), "InvalidIdentityToken")
        self.assert_refused(answer(exp=1), "ExpiredTokenException")
        form = f"Action=AssumeRoleWithWebIdentity&RoleArn={role}&WebIdentityToken=x"
        self.assert_refused(self.ask(form), "InvalidIdentityToken")


if __name__ == "__main__":
    unittest.main()
