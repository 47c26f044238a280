"""Speaks to redhare.Inference as a Python client does: stream_client.py DEFINITIONS ADDRESS STEPS. Each of the steps, a list in JSON,
is a call of auth ({"auth": attributes}), a stream ({"token", "data"}), or so many clients that do both ({"clients": N}); with "told", a number of answers, a line tells of these, and
with "hold" it stays open after all). For each a line in JSON says what came of it. A token {"of": N} is what the N-th step got."""
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

definitions, address, steps = sys.argv[1:]
sys.path.insert(0, definitions)
from redhare import inference_pb2, inference_pb2_grpc  # noqa: E402


def stub(target):
    return inference_pb2_grpc.InferenceStub(grpc.insecure_channel(target))


def auth(step):
    request = inference_pb2.AuthRequest(attributes=step["auth"])
    answer = stub(address).auth(request, timeout=30)
    return {"url": answer.url, "token": answer.token}


def infer_at_once(step):
    """Of each client what its stream came to, or why it got no token."""

    def one():
        try:
            return infer({**step, **auth(step)}, [])
        except grpc.RpcError as error:
            return refusal(error)

    with ThreadPoolExecutor(step["clients"]) as threads:
        return list(threads.map(lambda _: one(), range(step["clients"])))


def refusal(error):
    return {"code": error.code().name, "details": error.details()}


def come_of(step, found):
    try:
        if "clients" in step:
            return infer_at_once(step)
        return auth(step) if "auth" in step else infer(step, found)
    except grpc.RpcError as error:
        return refusal(error)


def infer(step, found):
    token = step["token"]
    if isinstance(token, dict):
        token = found[token["of"]]["token"]
    over = threading.Event()

    def requests():
        yield inference_pb2.Request(token=token)
        for one in step["data"]:
            yield inference_pb2.Request(data=one.encode())
        if step.get("hold"):
            over.wait()

    began = time.monotonic()
    answers = []

    def result(code, details):
        ms = (time.monotonic() - began) * 1000
        return {"answers": answers, "code": code, "details": details, "ms": ms}

    try:
        for answer in stub(address).stream_infer(requests(), timeout=90):
            answers.append(answer.data.decode())
            if len(answers) == step.get("told"):
                print('"told"', flush=True)
        return result("OK", "")
    except grpc.RpcError as error:
        return result(error.code().name, error.details())
    finally:
        over.set()


found = []
for step in json.loads(steps):
    found.append(come_of(step, found))
    print(json.dumps(found[-1]), flush=True)
