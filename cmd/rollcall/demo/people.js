// Who is in which project and how they are. Plain data: knows neither the network
// nor the page.

// The states, in the codes that the server uses for what people show to others.
export const STATES = ['offline', 'online', 'busy', 'away'];

const SHOWS = { '': 1, chat: 1, dnd: 2, busy: 2, away: 3, xa: 3, leave: 3, offline: 0 };
const UNGROUPED = 'People';

export class People {
  #contacts = new Map(); // bare address -> { jid, name, groups }
  #seen = new Map(); // bare address -> { resources, status, note }
  #projects = null; // of the project service, null if it said nothing
  #order = 0;

  // Starts anew, as after a reconnect: everybody counts as offline until the
  // server says otherwise.
  clear() {
    this.#contacts.clear();
    this.#seen.clear();
    this.#projects = null;
  }

  // items: [{ jid, name, subscription, groups }]
  setRoster(items) {
    this.#contacts.clear();
    this.updateRoster(items);
  }

  updateRoster(items) {
    for (const { jid, name, subscription, groups } of items) {
      if (subscription === 'remove') this.#contacts.delete(jid);
      else this.#contacts.set(jid, { jid, name: name || jid.split('@')[0], groups });
    }
  }

  // projects: [{ id, jid, name }], or null if the server has no project service.
  setProjects(projects) {
    this.#projects = projects;
  }

  // status is the code of the server, which counts all connections of a person,
  // or null where it does not say.
  setPresence({ jid, resource, available, show, priority, note, status }) {
    const seen = this.#seen.get(jid) ?? { resources: new Map(), status: null, note: '' };
    const code = SHOWS[show] ?? 1;
    if (available && code > 0) {
      seen.resources.set(resource, { code, priority, note, order: ++this.#order });
    } else if (resource === '') {
      seen.resources.clear();
    } else {
      seen.resources.delete(resource);
    }
    seen.status = status;
    if (seen.resources.size === 0 && !status) this.#seen.delete(jid);
    else this.#seen.set(jid, seen);
  }

  // The state of a person: online, busy, away or offline.
  state(jid) {
    const seen = this.#seen.get(jid);
    if (!seen) return 'offline';
    const code = seen.status ?? best(seen.resources)?.code ?? 0;
    return STATES[code] ?? 'online';
  }

  // What a person says about the state, if anything.
  note(jid) {
    const seen = this.#seen.get(jid);
    return (seen && best(seen.resources)?.note) ?? '';
  }

  contact(jid) {
    return this.#contacts.get(jid) ?? null;
  }

  contacts() {
    return [...this.#contacts.values()];
  }

  // The projects with their members, by name. jid is null for a group of the
  // roster that the project service does not know.
  projects() {
    const byName = (a, b) => a.name.localeCompare(b.name) || a.jid?.localeCompare(b.jid ?? '') || 0;
    const known = (this.#projects ?? []).map((project) => ({ ...project, members: [] }));
    const list = [...known];
    for (const contact of this.#contacts.values()) {
      const groups = contact.groups.length > 0 ? contact.groups : [UNGROUPED];
      for (const group of groups) {
        let homes = list.filter((project) => project.name === group);
        if (homes.length === 0) {
          homes = [{ id: group, jid: null, name: group, members: [] }];
          list.push(homes[0]);
        }
        for (const home of homes) home.members.push(contact);
      }
    }
    for (const project of list) project.members.sort(byName);
    return list.sort(byName);
  }
}

// Of several connections the one with the highest priority counts, and of equal
// ones the latest.
function best(resources) {
  let found = null;
  for (const candidate of resources.values()) {
    const better = !found || candidate.priority > found.priority
      || (candidate.priority === found.priority && candidate.order > found.order);
    if (better) found = candidate;
  }
  return found;
}
