-- Law of this file: a request's headers are read under their own names, in lower case, and under no other spelling: the
-- table that holds them would look for one that is missing in every other way it can be written.

-- Kong's sandbox for streamed plugins has no rawget.
return rawget or function(received, name)
  return received[name]
end
