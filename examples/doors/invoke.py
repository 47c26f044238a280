import json
import os

import grpc
import requests
from invocation.v1 import invocation_pb2, invocation_pb2_grpc
from model.v1 import model_pb2

channel = grpc.insecure_channel(os.getenv("GRPC_ADDRESS", "127.0.0.1:8500"))
api = os.getenv("API_URL", "http://127.0.0.1:8000")
key = "Bearer " + os.environ["API_KEY"]

model_input = model_pb2.ModelInput(
    id=17,
    content=json.dumps({"measurements": [[5.1, 3.5, 1.4, 0.2]]}),
    metadata=[model_pb2.ModelInputMetadata(key="model", value="iris")],
)
answer = invocation_pb2_grpc.InvocationStub(channel).Invoke(
    invocation_pb2.InvocationRequest(model_input=model_input), metadata=[("authorization", key)]
)
if answer.status != "OK":
    raise RuntimeError(answer.message)
stored = requests.get(f"{api}/invocation/17", headers={"authorization": key}).json()
print(*(entry["value"] for entry in stored["model_output"]["metadata"] if entry["key"] == "species"))
