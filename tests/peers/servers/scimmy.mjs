// SCIMMY (npm: scimmy, scimmy-routers) as an application that keeps its users and groups in memory.
// node scimmy.mjs FOLDER_WITH_node_modules TOKEN; prints its base URL when it listens.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [home, token] = process.argv.slice(2);
const require = createRequire(`${home}/package.json`);
const load = async (name) => {
  let found = await import(pathToFileURL(require.resolve(name)).href);
  while (found?.default) found = found.default;
  return found;
};
const express = await load("express");
const SCIMMY = await load("scimmy");
const Routers = await load("scimmy-routers");

// SCIMMY knows schemas, filters and patches; an application brings three functions that keep and find rows.
function keep(key) {
  const rows = new Map();
  const at = (id) => {
    if (!rows.has(id)) throw new SCIMMY.Types.Error(404, null, `${id} is not here`);
    return rows.get(id);
  };
  const fold = (row) => String(row[key]).toLowerCase();
  return {
    egress(resource) {
      if (resource.id) return at(resource.id);
      const all = [...rows.values()];
      return resource.filter ? resource.filter.match(all) : all;
    },
    ingress(resource, given) {
      const row = JSON.parse(JSON.stringify(given));
      const before = resource.id ? at(resource.id) : null;
      const taken = [...rows.values()].some((other) => other.id !== resource.id && fold(other) === fold(row));
      if (taken) throw new SCIMMY.Types.Error(409, "uniqueness", `${key} is taken`);
      row.id = before?.id ?? randomUUID();
      const now = new Date().toISOString();
      row.meta = { created: before?.meta.created ?? now, lastModified: now };
      rows.set(row.id, row);
      return row;
    },
    degress(resource) {
      at(resource.id);
      rows.delete(resource.id);
    },
  };
}

const { User, Group } = SCIMMY.Resources;
SCIMMY.Resources.declare(User.extend(SCIMMY.Schemas.EnterpriseUser, false), keep("userName"));
SCIMMY.Resources.declare(Group, keep("displayName"));
const handler = (request) => {
  if (request.header("authorization") !== `Bearer ${token}`) throw new Error("who is this?");
  return "usher";
};
const app = express().use("/scim/v2", new Routers({ type: "bearer", handler }));
const listening = app.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${listening.address().port}/scim/v2`);
});
