"""Evaluates `__main__.py` as Pulumi does, with mocks instead of the provider.

`python -m local.program --stack dev` prints, as JSON, every resource that the program registers and every output;
`--preview` leaves ids, ARNs and URLs unknown, as in a first `pulumi preview`. One evaluation per process: the SDK keeps
its state in globals.
"""

import argparse
import asyncio
import json
import runpy
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks, rpc, set_all_config
from pulumi.runtime.settings import set_root_resource
from pulumi.runtime.stack import run_in_stack

ROOT = Path(__file__).parent.parent
ACCOUNT = "000000000000"
EVALUATION_SECONDS = 120

# Creates a resource: (type, logical name, inputs) -> (id, properties that AWS adds).
Create = Callable[[str, str, dict[str, Any]], tuple[str, dict[str, Any]]]


@dataclass
class Registration:
    """A resource that the program has registered. `depends_on` and `parent` are types with names.

    `urn`: its identity in a deployed stack, without stack and project: the types of its parents, its own type, its
    name. https://www.pulumi.com/docs/iac/concepts/resources/names/#urns
    """

    urn: str
    type: str
    name: str
    custom: bool
    inputs: dict[str, Any]
    parent: str
    protect: bool
    depends_on: list[str]


@dataclass
class Evaluation:
    """The registered resources and exported outputs of the program."""

    resources: list[Registration] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)


def stack_config(stack: str, overrides: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the configuration as Pulumi's CLI passes it: the project's defaults, the stack's file, overrides.

    `overrides`: settings by name, others with a prefix (aws:region), with values of any type that a stack's file may
    have.
    """
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    name = project["name"]
    values = {f"{name}:{key}": about["default"] for key, about in project["config"].items()}
    values |= yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text()).get("config", {})
    values |= {key if ":" in key else f"{name}:{key}": value for key, value in (overrides or {}).items()}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


class _Mocks(mocks.Mocks):
    def __init__(self, create: Create, region: str) -> None:
        self.create, self.region = create, region

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict]:
        if not args.custom:
            return None, args.inputs
        identifier, properties = self.create(args.typ, args.name, args.inputs)
        return identifier, args.inputs | properties

    def call(self, args: mocks.MockCallArgs) -> tuple[dict, list[tuple[str, str]] | None]:
        answers = {
            "aws:index/getRegion:getRegion": {"region": self.region, "id": self.region},
            "aws:index/getCallerIdentity:getCallerIdentity": {"accountId": ACCOUNT, "id": ACCOUNT},
        }
        if args.token not in answers:
            raise NotImplementedError(f"the program calls {args.token}: say in local/program.py what it answers")
        return answers[args.token], []


class _Monitor(mocks.MockMonitor):
    """Records resources, outputs and the first error, which a later one in another thread may hide."""

    def __init__(self, mocks_: mocks.Mocks) -> None:
        super().__init__(mocks_)
        self.evaluation = Evaluation()
        self.error: Exception | None = None
        self.lock = threading.Lock()
        # For each resource the types in its URN. URNs of the mocks name one parent at most.
        self.types: dict[str, str] = {}

    def RegisterResource(self, request: Any) -> Any:
        if request.type == "pulumi:pulumi:Stack":
            return super().RegisterResource(request)
        with self.lock:
            types = f"{self.types[request.parent]}${request.type}" if request.parent in self.types else request.type
        registration = Registration(
            urn=f"{types}::{request.name}",
            type=request.type,
            name=request.name,
            custom=request.custom,
            inputs=plain(rpc.deserialize_properties(request.object)),
            parent=_short(request.parent),
            protect=request.protect,
            depends_on=sorted(_short(urn) for urn in request.dependencies),
        )
        with self.lock:
            self.evaluation.resources.append(registration)
        try:
            answer = super().RegisterResource(request)
            with self.lock:
                self.types[answer.urn] = types
            return answer
        except Exception as error:
            with self.lock:
                self.error = self.error or error
            raise

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if "::pulumi:pulumi:Stack::" in request.urn:
            self.evaluation.outputs = plain(rpc.deserialize_properties(request.outputs, keep_unknowns=True))
        return super().RegisterResourceOutputs(request)


def evaluate(stack: str, config: dict[str, str], create: Create, *, preview: bool = False) -> Evaluation:
    """Run the program once, in this process. Raises the first exception of the program or of `create`."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    monitor = _Monitor(_Mocks(create, config["aws:region"]))
    # With any root set, set_mocks makes no stack of its own, whose outputs would be lost.
    set_root_resource(object())  # ty: ignore[invalid-argument-type]
    mocks.set_mocks(monitor.mocks, "model-training-queue", stack, preview, monitor=monitor)
    set_root_resource(None)  # ty: ignore[invalid-argument-type]
    set_all_config(config)
    sys.path.insert(0, str(ROOT))
    try:
        run = run_in_stack(lambda: (runpy.run_path(str(ROOT / "__main__.py")), None)[1])
        loop.run_until_complete(asyncio.wait_for(run, EVALUATION_SECONDS))
    except Exception as error:
        raise monitor.error or error from None
    return monitor.evaluation


def invented(kind: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return an invented id, ARN and URL, in AWS's form. For recordings."""
    service = kind.split(":")[1].split("/")[0]
    properties = {"arn": f"arn:aws:{service}:us-east-1:{ACCOUNT}:{name}", "name": inputs.get("name", name)}
    if kind == "aws:kms/key:Key":
        properties |= {"arn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{name}", "keyId": name}
    if kind == "aws:ssm/parameter:Parameter":
        properties["arn"] = f"arn:aws:ssm:us-east-1:{ACCOUNT}:parameter{inputs['name']}"
    if kind == "aws:cloudwatch/metricAlarm:MetricAlarm":
        properties["arn"] = f"arn:aws:cloudwatch:us-east-1:{ACCOUNT}:alarm:{name}"
    if kind == "aws:cloudwatch/logGroup:LogGroup":
        properties["arn"] = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{name}"
    if kind == "aws:sqs/queue:Queue":
        properties["url"] = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}"
    if kind == "aws:s3/bucket:Bucket":
        properties |= {"arn": f"arn:aws:s3:::{name}", "bucket": name}
    return f"{name}-id", properties


def unknown(kind: str, name: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return no id and no properties, as in a first preview."""
    return "", {}


def plain(value: Any) -> Any:
    """Return a value that JSON can represent: whole numbers as int, secrets and archives unwrapped."""
    if rpc.is_rpc_secret(value):
        return plain(rpc.unwrap_rpc_secret(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, pulumi.AssetArchive):
        return {"archive": {name: plain(asset) for name, asset in value.assets.items()}}
    if isinstance(value, pulumi.FileAsset):
        return str(value.path)
    return None if isinstance(value, pulumi.output.Unknown) else value


def _short(urn: str) -> str:
    """Return the type and name of a URN, without the types of its parents."""
    if not urn:
        return ""
    _, types, name = urn.rsplit("::", 2)
    return f"{types.rsplit('$', 1)[-1]}::{name}"


def recorded(words: Sequence[str] | None = None) -> dict[str, Any]:
    """Return every resource, sorted, and every output, for the command line options in `words`."""
    parser = argparse.ArgumentParser(prog="python -m local.program", description=__doc__.split("\n\n")[1])
    parser.add_argument("--stack", default="dev", help="which Pulumi.STACK.yaml to read (default: dev)")
    parser.add_argument("--preview", action="store_true", help="leave unknown what AWS has not answered yet")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, over the stack's")
    arguments = parser.parse_args(words)
    overrides = dict(each.split("=", 1) for each in arguments.set)
    found = evaluate(
        arguments.stack,
        stack_config(arguments.stack, overrides),
        unknown if arguments.preview else invented,
        preview=arguments.preview,
    )
    resources = sorted((vars(each) for each in found.resources), key=lambda each: (each["type"], each["name"]))
    return {"resources": resources, "outputs": found.outputs}


def main() -> None:
    try:
        print(json.dumps(recorded(), indent=2, sort_keys=True))
    except pulumi.RunError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
