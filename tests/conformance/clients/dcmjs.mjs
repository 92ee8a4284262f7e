// SPDX-License-Identifier: AGPL-3.0-or-later
// dcmjs-dimse as a client: node dcmjs.mjs HOST PORT CALLING CALLED VERB WORD...
// It prints what came, one thing in a line: the status of each answer, and the UIDs or files of images.
import {createRequire} from "node:module";
import path from "node:path";

const dimse = createRequire(import.meta.url)("dcmjs-dimse");
const {CEchoRequest, CFindRequest, CGetRequest, CMoveRequest, CStoreRequest} = dimse.requests;
const {CStoreResponse} = dimse.responses;
const {PresentationContextResult, Status} = dimse.constants;
const [host, port, calling, called, verb, ...words] = process.argv.slice(2);
dimse.log.level = "error";

const client = new dimse.Client();
let failed = false;

const keep = directory => (request, answer) => {
  const dataset = request.getDataset();
  dataset.toFile(path.join(directory, `${dataset.getElement("SOPInstanceUID")}.dcm`));
  const response = CStoreResponse.fromRequest(request);
  response.setStatus(Status.Success);
  answer(response);
};

const ask = request => {
  request.on("response", response => {
    const status = response.getStatus();
    if (status === Status.Pending) {
      const uid = response.hasDataset() && response.getDataset().getElement("SOPInstanceUID");
      if (uid) console.log(`found ${uid}`);
      return;
    }
    console.log(`status ${status.toString(16).padStart(4, "0")}`);
    failed ||= status !== Status.Success;
  });
  client.addRequest(request);
};

class Receiver extends dimse.Scp {
  associationRequested(association) {
    for (const {id} of association.getPresentationContexts()) {
      const context = association.getPresentationContext(id);
      context.setResult(PresentationContextResult.Accept, context.getTransferSyntaxUids()[0]);
    }
    this.sendAssociationAccept();
  }

  cStoreRequest(request, answer) {
    keep(Receiver.directory)(request, answer);
  }

  associationReleaseRequested() {
    this.sendAssociationReleaseResponse();
  }
}

let server;
switch (verb) {
  case "echo":
    ask(new CEchoRequest());
    break;
  case "store":
    words.forEach(file => ask(new CStoreRequest(file)));
    break;
  case "find":
    ask(CFindRequest.createImageFindRequest({StudyInstanceUID: words[0], SeriesInstanceUID: "", SOPInstanceUID: ""}));
    break;
  case "get":
    client.on("cStoreRequest", keep(words[1]));
    ask(CGetRequest.createStudyGetRequest(words[0]));
    break;
  case "move":
    Receiver.directory = words[1];
    server = new dimse.Server(Receiver);
    server.listen(Number(words[2]));
    ask(CMoveRequest.createStudyMoveRequest(calling, words[0]));
    break;
  default:
    throw new Error(`${verb}: is no verb of this program`);
}
for (const event of ["networkError", "associationRejected", "abort"]) {
  client.on(event, what => {
    console.log(`${event} ${what?.message ?? ""}`);
    failed = true;
  });
}
client.on("closed", () => {
  server?.close();
  process.exitCode = failed ? 1 : 0;
});
client.send(host, Number(port), calling, called);
