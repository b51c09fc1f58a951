package mongo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"rollcall/storage"
)

// mostMessages bounds what waits for a user where nothing else does, for the sake of the
// document that lists it.
const mostMessages = 100_000

// queue is the document about a user in the spool: which messages wait. It alone decides
// what there is; a stanza that no queue names is nothing.
type queue struct {
	User     string        `bson:"_id"`
	Rev      bson.ObjectID `bson:"rev"`
	Messages int           `bson:"messages"`
	Bytes    int64         `bson:"bytes"`
	// List has the id, the size and the token of each message, ordered by id. A space
	// sorts before all that ids are made of, so that it is in the order of its texts.
	List []string `bson:"list"`
}

// waiting is a message in a queue. Its stanza's _id says where it is, and is never used
// again: who is late can delete only what they put there themselves.
type waiting struct {
	id    string
	size  int64
	token string
}

func (w waiting) text() string { return w.id + " " + strconv.FormatInt(w.size, 10) + " " + w.token }

func (w waiting) stanza(user string) string { return user + "/" + w.id + "/" + w.token }

func parseWaiting(text string) (w waiting, err error) {
	parts := strings.Split(text, " ")
	if len(parts) != 3 {
		return w, fmt.Errorf("mongo: %q is in a queue", text)
	}
	size, err := strconv.ParseInt(parts[1], 10, 64)
	return waiting{parts[0], size, parts[2]}, err
}

// find is where a message is in the list, or belongs.
func (q *queue) find(id string) (int, bool) {
	i, _ := slices.BinarySearch(q.List, id+" ")
	return i, i < len(q.List) && strings.HasPrefix(q.List[i], id+" ")
}

// remove takes a message out.
func (q *queue) remove(i int) (waiting, error) {
	w, err := parseWaiting(q.List[i])
	q.List = slices.Delete(q.List, i, i+1)
	q.Messages--
	q.Bytes -= w.size
	return w, err
}

// keep puts a message in, and returns what had to go for it. It reports whether the
// message is in, and whether it was not before.
func (q *queue) keep(limit storage.KeepLimit, w waiting) (dropped []waiting, in, added bool, err error) {
	if limit.Messages <= 0 || limit.Messages > mostMessages {
		limit.Messages = mostMessages
	}
	if _, found := q.find(w.id); found {
		return nil, true, false, nil
	}
	fits := limit.Fits(q.Messages+1, q.Bytes+w.size)
	if w.size > largest || !fits && (!limit.DropOldest || !limit.Fits(1, w.size)) {
		return nil, false, false, nil
	}
	for !limit.Fits(q.Messages+1, q.Bytes+w.size) {
		oldest, err := q.remove(0)
		if err != nil {
			return nil, false, false, err
		}
		dropped = append(dropped, oldest)
	}
	i, _ := q.find(w.id)
	q.List = slices.Insert(q.List, i, w.text())
	q.Messages++
	q.Bytes += w.size
	return dropped, true, true, nil
}

// after lists at most n messages that come after an id.
func (q *queue) after(id string, n int) (list []waiting, err error) {
	i := 0
	if id != "" {
		var found bool
		if i, found = q.find(id); found {
			i++
		}
	}
	for _, text := range q.List[i:min(len(q.List), i+max(n, 0))] {
		w, err := parseWaiting(text)
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	return list, nil
}
