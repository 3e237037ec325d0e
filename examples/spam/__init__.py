"""An e-mail classifier, trained on real mails in three versions."""
