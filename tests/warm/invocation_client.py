"""Invokes a model as a Python client does: invocation_client.py DEFINITIONS GRPC_ADDRESS HTTP_URL INVOCATIONS. Of each of the
invocations, a list in JSON, it prints what came of it and what is to be read of its id right after."""
import json
import sys
import time
import urllib.error
import urllib.request

import grpc

definitions, address, url, invocations = sys.argv[1:]
sys.path.insert(0, definitions)
from invocation.v1 import invocation_pb2, invocation_pb2_grpc  # noqa: E402
from model.v1 import model_pb2  # noqa: E402

stub = invocation_pb2_grpc.InvocationStub(grpc.insecure_channel(address))


def invoke(asked, content):
    metadata = [model_pb2.ModelInputMetadata(**entry) for entry in asked.get("metadata", [])]
    model_input = model_pb2.ModelInput(id=asked["id"], content=content, metadata=metadata)
    key = asked.get("key")
    try:
        answer = stub.Invoke(
            invocation_pb2.InvocationRequest(model_input=model_input),
            metadata=[] if key is None else [("authorization", "Bearer " + key)],
            timeout=60,
        )
        return {"status": answer.status, "message": answer.message}
    except grpc.RpcError as error:
        return {"code": error.code().name}


def read(asked, content):
    request = urllib.request.Request(f"{url}/invocation/{asked['id']}")
    if "key" in asked:
        request.add_header("authorization", "Bearer " + asked["key"])
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, body = answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        status, body = error.code, json.load(error)
    found = {"read": status, "ms": (time.monotonic() - began) * 1000}
    if status != 200:
        return {**found, "said": body["message"] if "message" in body else body["detail"]}
    model_input, model_output = body["model_input"], body["model_output"]
    return {
        **found,
        "ids": [model_input["id"], model_output["id"]],
        "is the content": model_input["content"] == content,
        "inputs": model_input["metadata"],
        "outputs": model_output["metadata"],
    }


found = []
for asked in json.loads(invocations):
    content = asked["content"].replace("PAD", "x" * asked.get("pad", 0))
    found.append({**invoke(asked, content), **read(asked, content)})
print(json.dumps(found))
