"""Speaks the Open Inference Protocol by gRPC and by HTTP: argv has compiled definitions, both addresses, headers."""

import http.client
import json
import struct
import sys

sys.path.insert(0, sys.argv[1])

import grpc
from inference import grpc_service_pb2 as oip
from inference import grpc_service_pb2_grpc as oip_grpc

stub = oip_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[2]))
tensor = oip.ModelInferRequest.InferInputTensor


def code_of(act):
    try:
        return act() and "OK"
    except grpc.RpcError as error:
        return error.code().name


def infer(raw, **more):
    request = oip.ModelInferRequest(model_name="echo", id="a1", **more)
    x = request.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    t = request.inputs.add(name="t", datatype="BYTES", shape=[1])
    if raw:
        request.raw_input_contents.append(struct.pack("<4f", 1, 2, 3, 4))
        request.raw_input_contents.append(struct.pack("<I", 2) + b"\xff\x00")
    else:
        x.contents.fp32_contents.extend([1, 2, 3, 4])
        t.contents.bytes_contents.append(b"\xff\x00")
    answer = stub.ModelInfer(request, timeout=10)
    numbers, text = answer.raw_output_contents
    return {
        "head": [answer.model_name, answer.model_version, answer.id],
        "outputs": [[one.name, one.datatype, list(one.shape)] for one in answer.outputs],
        "x": list(struct.unpack("<4f", numbers)),
        "t": list(text),
    }


def ask(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(sys.argv[3], timeout=10)
    connection.request(method, path, body, {**json.loads(sys.argv[4]), **headers})
    answer = connection.getresponse()
    length = answer.getheader("Inference-Header-Content-Length")
    content = answer.read()
    at = len(content) if length is None else int(length)
    return answer.status, json.loads(content[:at]), content[at:]


def infer_binary():
    data = struct.pack("<4f", 1, 2, 3, 4), struct.pack("<I", 2) + b"\xff\x00"
    sizes = [{"binary_data_size": len(one)} for one in data]
    document = json.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": sizes[0]},
                {"name": "t", "shape": [1], "datatype": "BYTES", "parameters": sizes[1]},
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    # As the field's own client does it: no content type.
    headers = {"Inference-Header-Content-Length": str(len(document))}
    status, answer, rest = ask("POST", "/v2/models/echo/infer", document + b"".join(data), headers)
    sizes = [one["parameters"]["binary_data_size"] for one in answer["outputs"]]
    return [status, sizes, list(struct.unpack("<4f", rest[:16])), list(rest[16:])]


def infer_json():
    x = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    t = {"name": "t", "shape": [1], "datatype": "BYTES", "data": ["f\u00fcr"]}
    status, answer, _ = ask("POST", "/v2/models/echo/infer", json.dumps({"inputs": [x, t]}))
    return [status, [one["data"] for one in answer["outputs"]]]


metadata = stub.ModelMetadata(oip.ModelMetadataRequest(name="echo"), timeout=10)
server = stub.ServerMetadata(oip.ServerMetadataRequest(), timeout=10)
print(
    json.dumps(
        {
            "live": stub.ServerLive(oip.ServerLiveRequest(), timeout=10).live,
            "ready": stub.ServerReady(oip.ServerReadyRequest(), timeout=10).ready,
            "model ready": stub.ModelReady(oip.ModelReadyRequest(name="echo"), timeout=10).ready,
            "server": [server.name, list(server.extensions)],
            "model": [metadata.name, list(metadata.versions), len(metadata.inputs)],
            "typed": infer(False),
            "raw": infer(True, model_version="1"),
            "unknown": code_of(lambda: infer(True, model_version="2")),
            "no version": code_of(lambda: infer(True, model_version="one")),
            "unknown model": code_of(
                lambda: stub.ModelReady(oip.ModelReadyRequest(name="other"), timeout=10)
            ),
            "wrong": code_of(
                lambda: stub.ModelInfer(
                    oip.ModelInferRequest(
                        model_name="echo", inputs=[tensor(name="x", datatype="FP64", shape=[2])]
                    ),
                    timeout=10,
                )
            ),
            "binary": infer_binary(),
            "json": infer_json(),
            "error": ask("POST", "/v2/models/other/infer", "{}")[:2],
        }
    )
)
