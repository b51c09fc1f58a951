package mongofake

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// aggregate runs a pipeline; mu is held.
func (f *Fake) aggregate(command bson.Raw) (any, error) {
	collection := text(command, "aggregate") // a number stands for the database
	list, err := values(command.Lookup("pipeline"))
	if err != nil {
		return nil, err
	}
	stages := make([]bson.Raw, len(list))
	for i, v := range list {
		var ok bool
		if stages[i], ok = v.DocumentOK(); !ok {
			return nil, badValue("a stage is no document")
		}
	}
	batch := size(command, defaultBatch, "cursor", "batchSize")
	if len(stages) > 0 {
		if options, ok := stages[0].Lookup("$changeStream").DocumentOK(); ok {
			return f.watch(command, collection, options, stages[1:])
		}
	}
	docs, err := f.pipeline(append([]bson.Raw(nil), f.collection(collection).docs...), stages)
	if err != nil {
		return nil, err
	}
	return f.open(command, collection, docs, batch, false), nil
}

// watch opens a change stream; events come with the first getMore.
func (f *Fake) watch(command bson.Raw, collection string, options bson.Raw, rest []bson.Raw) (any, error) {
	s, err := f.openStream(collection, text(command, "$db"), options, rest)
	if err != nil {
		return nil, err
	}
	if _, err := f.pipeline(nil, rest); err != nil {
		return nil, err
	}
	c := &cursor{namespace: text(command, "$db") + "." + collection, stream: s}
	return f.batch(c, f.keep(c), "firstBatch", nil), nil
}

// pipeline does what stages say with documents: $match, $sort, $skip, $limit, $project,
// $unwind, $count, and the $group by which drivers count.
func (f *Fake) pipeline(docs []bson.Raw, stages []bson.Raw) ([]bson.Raw, error) {
	for _, stage := range stages {
		e, err := stage.IndexErr(0)
		if err != nil {
			return nil, badValue("%v", err)
		}
		if docs, err = runStage(docs, e.Key(), e.Value()); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func runStage(docs []bson.Raw, name string, v bson.RawValue) ([]bson.Raw, error) {
	arg, _ := v.DocumentOK()
	n, _ := number(v)
	switch name {
	case "$match":
		return each(docs, func(d bson.Raw) ([]bson.Raw, error) {
			ok, err := match(d, arg)
			if !ok {
				return nil, err
			}
			return []bson.Raw{d}, err
		})
	case "$project":
		return each(docs, func(d bson.Raw) ([]bson.Raw, error) {
			p, err := project(d, arg)
			return []bson.Raw{p}, err
		})
	case "$unwind":
		path, _ := v.StringValueOK()
		if arg != nil {
			path = text(arg, "path")
		}
		return each(docs, func(d bson.Raw) ([]bson.Raw, error) { return unwind(d, strings.TrimPrefix(path, "$")) })
	case "$sort":
		return docs, sortBy(docs, arg)
	case "$skip":
		return docs[min(max(int(n), 0), len(docs)):], nil
	case "$limit":
		return docs[:min(max(int(n), 0), len(docs))], nil
	case "$count":
		field, _ := v.StringValueOK()
		return counted(docs, bson.D{{Key: field, Value: len(docs)}}), nil
	case "$group":
		if _, err := arg.LookupErr("n", "$sum"); err != nil {
			return nil, badValue("$group can only count here")
		}
		return counted(docs, bson.D{{Key: "_id", Value: arg.Lookup("_id")}, {Key: "n", Value: len(docs)}}), nil
	}
	return nil, &refusal{40324, "Location40324", "Unrecognized pipeline stage name: '" + name + "'", nil}
}

// counted is one document, or none when there is nothing to count.
func counted(docs []bson.Raw, count bson.D) []bson.Raw {
	if len(docs) == 0 {
		return nil
	}
	return []bson.Raw{document(count)}
}

func each(docs []bson.Raw, do func(bson.Raw) ([]bson.Raw, error)) ([]bson.Raw, error) {
	var out []bson.Raw
	for _, d := range docs {
		made, err := do(d)
		if err != nil {
			return nil, err
		}
		out = append(out, made...)
	}
	return out, nil
}

// unwind makes a document of each element of an array at the top.
func unwind(doc bson.Raw, field string) ([]bson.Raw, error) {
	v, err := doc.LookupErr(field)
	if err != nil {
		return nil, nil
	}
	elements, err := values(v)
	if err != nil {
		return []bson.Raw{doc}, nil // stands for itself
	}
	var out []bson.Raw
	for _, element := range elements {
		var d bson.D
		if err := bson.Unmarshal(doc, &d); err != nil {
			return nil, badValue("%v", err)
		}
		for i := range d {
			if d[i].Key == field {
				d[i].Value = element
			}
		}
		out = append(out, document(d))
	}
	return out, nil
}
