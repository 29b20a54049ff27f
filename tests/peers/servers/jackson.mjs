// The directory sync of Ory Polis, formerly BoxyHQ SAML Jackson (npm: @boxyhq/saml-jackson), as an application.
// node jackson.mjs FOLDER_WITH_node_modules TOKEN; prints its base URL when it listens.
import { createRequire } from "node:module";

const [home, token] = process.argv.slice(2);
const require = createRequire(`${home}/package.json`);
const express = require("express");
const { directorySyncController: sync } = await require("@boxyhq/saml-jackson").default({
  externalUrl: "http://127.0.0.1",
  samlPath: "/sso",
  scimPath: "/scim",
  samlAudience: "usher",
  db: { engine: "mem" },
  noAnalytics: true,
});
const { data: directory, error } = await sync.directories.create({
  tenant: "usher",
  product: "tests",
  name: "usher",
  type: "generic-scim-v2",
});
if (error) throw new Error(error.message);

const number = (text) => (text === undefined ? undefined : Number(text));
const app = express().use(express.json({ type: () => true }));
// Jackson brings the logic and no routes: it has users and groups, and nothing that describes it.
app.all("/scim/v2/:type(Users|Groups)/:id?", async ({ headers, method, params, query, body }, reply) => {
  if (headers.authorization !== `Bearer ${token}`) return reply.status(401).json({ detail: "Unauthorized" });
  const answer = await sync.requests.handle({
    method,
    body: Object.keys(body ?? {}).length > 0 ? body : undefined,
    directoryId: directory.id,
    apiSecret: directory.scim.secret,
    resourceType: params.type.toLowerCase(),
    resourceId: params.id,
    query: { filter: query.filter, count: number(query.count), startIndex: number(query.startIndex) },
  });
  reply.status(answer.status).type("application/scim+json").send(answer.data);
});
const listening = app.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${listening.address().port}/scim/v2`);
});
