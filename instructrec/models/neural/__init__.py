"""Networks that Keras trains on histories: SASRec, two towers, three towers."""
