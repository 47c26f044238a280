import json
import os

import grpc
from redhare import inference_pb2, inference_pb2_grpc


def inference_at(address):
    return inference_pb2_grpc.InferenceStub(grpc.insecure_channel(address))


def requests(token):
    yield inference_pb2.Request(token=token)
    for flower in [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]:
        yield inference_pb2.Request(data=json.dumps({"measurements": [flower]}).encode())


server = inference_at(os.getenv("GRPC_ADDRESS", "127.0.0.1:8500"))
attributes = {"model_name": "iris", "token": os.environ["API_KEY"]}
granted = server.auth(inference_pb2.AuthRequest(attributes=attributes))
for answer in inference_at(granted.url).stream_infer(requests(granted.token)):
    print(*json.loads(answer.data)["species"])
