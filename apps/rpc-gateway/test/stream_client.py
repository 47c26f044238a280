"""Speaks to redhare.Inference as a Python client does: definitions compiled from our .proto files in argv[1]."""

import json
import sys
import threading

sys.path.insert(0, sys.argv[1])

import grpc
from redhare import inference_pb2, inference_pb2_grpc

_, _, address, key = sys.argv


def stub(target):
    return inference_pb2_grpc.InferenceStub(grpc.insecure_channel(target))


def auth(**attributes):
    return stub(address).auth(inference_pb2.AuthRequest(attributes=attributes), timeout=10)


def requests(token, data):
    if token is not None:
        yield inference_pb2.Request(token=token)
    for one in data:
        yield inference_pb2.Request(data=one)


def infer(target, token, data):
    answers = stub(target).stream_infer(requests(token, data), timeout=20)
    return [answer.data for answer in answers]


def code_of(act):
    try:
        act()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


granted = auth(model_name="echo", token=key)
frames = [json.dumps({"key": n, "data": "QUJD" * n}).encode() for n in range(500)]
fewer = frames[::5]
parallel = []
threads = [
    threading.Thread(
        target=lambda: parallel.append(infer(granted.url, granted.token, fewer) == fewer)
    )
    for _ in range(8)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()


def one_by_one():
    """Each datum goes out when the answer to the one before it has come."""
    came = threading.Semaphore(1)

    def ask():
        yield inference_pb2.Request(token=granted.token)
        for frame in frames[:20]:
            came.acquire()
            yield inference_pb2.Request(data=frame)

    answers = []
    for answer in stub(granted.url).stream_infer(ask(), timeout=20):
        answers.append(answer.data)
        came.release()
    return answers == frames[:20]


print(
    json.dumps(
        {
            "url": granted.url,
            "in order": infer(granted.url, granted.token, frames) == frames,
            "empty": infer(granted.url, granted.token, [b""]) == [b""],
            "nothing": infer(granted.url, granted.token, []),
            "one by one": one_by_one(),
            "parallel": parallel,
            "login": auth(model_name="echo", user_name="ada", password="correct horse").url,
            "wrong password": code_of(
                lambda: auth(model_name="echo", user_name="ada", password="x")
            ),
            "no credentials": code_of(lambda: auth(model_name="echo")),
            "unknown model": code_of(lambda: auth(model_name="other", token=key)),
            "wrong token": code_of(lambda: infer(granted.url, "x", frames)),
            "data first": code_of(lambda: infer(granted.url, None, frames)),
        }
    )
)
